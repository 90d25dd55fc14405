package config

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth/internal/engineaddr"
	"berth/internal/pin"
	"berth/internal/session"
)

const (
	minAdminToken  = 16
	minTokenLength = 22 // characters of an alphabet of 62: 130 bits
	minTokenSecret = 32
	minPIDs        = 64 // about sixteen are used by an idle server, four by each terminal
	minQuota       = 1000
	maxPeriod      = 1_000_000
)

// networkName is what the engine accepts as the name of a network.
var networkName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// Validate reports every fault of the settings at once, as a [*FaultsError].
func (c Config) Validate() error {
	v := &checker{}
	v.server(c.Server)
	v.origins(c)
	v.database(c)
	v.docker(c)
	v.session(c)
	v.gateway(c)
	v.health(c.Health)
	v.webhook(c.Webhook)
	v.limits(c)
	v.token(c.Token)
	v.oidc(c)
	v.pool(c)
	v.log(c.Log)
	v.models(c.Models)
	v.budgets(c.Budgets)
	v.git(c.Git)
	v.egress(c)
	v.profiles(c)
	return faultsError(v.faults)
}

type checker struct{ faults []Fault }

// that records a fault unless ok. Secrets print themselves as [redacted].
func (v *checker) that(ok bool, variable string, value any, allowed string, args ...any) {
	if !ok {
		v.faults = append(v.faults, Fault{Variable: variable, Value: fmt.Sprint(value), Problem: fmt.Sprintf(allowed, args...)})
	}
}

func between[T cmp.Ordered](v *checker, variable string, value, low, high T) {
	v.that(value >= low && value <= high, variable, value, "must be between %v and %v", low, high)
}

func oneOf(v *checker, variable, value string, allowed ...string) {
	v.that(slices.Contains(allowed, value), variable, value, "must be one of %s", strings.Join(allowed, ", "))
}

func (v *checker) server(s Server) {
	v.that(hostPort(s.Listen, 0), "BERTH_LISTEN", s.Listen, "must be host:port, like 127.0.0.1:8080")
	v.tls(s)
	if _, err := s.Proxies(); err != nil {
		v.that(false, "TRUSTED_PROXIES", s.TrustedProxies,
			"must be IP addresses or CIDR networks like 10.0.0.0/8, separated by commas, no network wider than /%d, or /%d of IPv6: %v", widest4, widest6, err)
	}
	v.that(s.StateDir != "", "BERTH_STATE_DIR", s.StateDir, "must be set, because neither HOME nor XDG_STATE_HOME is")
	admin := s.AdminToken.Reveal()
	v.that(admin == "" || len(admin) >= minAdminToken && visible(admin), "BERTH_ADMIN_TOKEN", s.AdminToken,
		"must be at least %d visible ASCII characters without spaces, or empty to have one generated", minAdminToken)
	between(v, "BERTH_DRAIN_TIMEOUT", s.DrainTimeout, 0, Seconds(time.Hour))
}

func (v *checker) docker(c Config) {
	d := c.Docker
	v.endpoint(d)
	v.that(d.HostIP != "", "DOCKER_HOST_IP", d.HostIP, "must be a host name or an IP address")
	between(v, "DOCKER_TLS_PORT", d.TLSPort, 1, 65535)
	v.that(d.TLSVerify || d.Env != Production, "DOCKER_TLS_VERIFY", d.TLSVerify,
		"contradicts DOCKER_ENV=%s: the engine's certificate must be verified there", Production)
	for _, at := range []struct{ variable, value string }{{"HOST_IP", d.ReachedAt}, {"DOCKER_HOST_GATEWAY", d.HostGateway}, {"GATEWAY", d.Gateway}} {
		v.that(at.value == "" || isHost(at.value), at.variable, at.value, "must be an IP address or a host name, without a port")
	}
	v.that(d.CertPath != "", "DOCKER_CERT_PATH", d.CertPath, "must be a directory")
	_, err := pin.ParseList(d.TLSPin)
	v.that(err == nil, "DOCKER_TLS_PIN", d.TLSPin,
		"must be SHA-256 of public keys in base64 or hexadecimal, like sha256//… as \"berth certs list\" prints them, separated by commas")
	oneOf(v, "DOCKER_ENV", d.Env, "development", "test", "staging", Production)
	between(v, "DOCKER_MAX_OPERATIONS", d.MaxOperations, 0, 1024)
	between(v, "DOCKER_OPERATION_TIMEOUT", d.OperationTimeout, Seconds(time.Second), Seconds(time.Hour))
	v.that(c.Session.StopTimeout < d.OperationTimeout, "DOCKER_OPERATION_TIMEOUT", d.OperationTimeout,
		"contradicts SESSION_STOP_TIMEOUT=%s: stopping a session is one operation and must fit into it", c.Session.StopTimeout)
	v.that(networkName.MatchString(d.Network) && d.Network != "host" && d.Network != "none", "DOCKER_NETWORK", d.Network,
		"must be the name of a bridge network: letters, digits, and _ . - after the first; not host, not none")
}

func (v *checker) endpoint(d Docker) {
	engine, err := engineaddr.Parse(d.Host)
	switch {
	case d.Host == d.defaultHost() && (d.HostIP == "" || d.TLSPort < 1 || d.TLSPort > 65535):
		// The fault is reported for the part.
	case err == nil && engine.Network == engineaddr.Unix:
		v.that(d.InsecureSocket, "DOCKER_HOST", d.Host,
			"is refused: the engine's socket gives root access to its host. Use tcp:// with certificates, or give --insecure-docker-socket")
	default:
		v.that(err == nil && hostPort(engine.HostPort(""), 1), "DOCKER_HOST", engineaddr.Redacted(d.Host), "must be tcp://host:port")
	}
}

func (v *checker) session(c Config) {
	s := c.Session
	oneOf(v, "BERTH_RUNTIME", s.Runtime, RuntimeDocker, RuntimeProcess)
	v.that(s.Runtime != RuntimeProcess || c.Docker.Env != Production, "BERTH_RUNTIME", s.Runtime,
		"contradicts DOCKER_ENV=%s: sessions of this runtime are not isolated", Production)
	_, err := netip.ParseAddr(s.PublishIP)
	v.that(s.PublishIP == Auto || err == nil, "SESSION_PUBLISH_IP", s.PublishIP, "must be %s or an IP address", Auto)
	oneOf(v, "SESSION_ROUTE", s.Route, Auto, RoutePublished, RouteNetwork)
	_, err = session.ParseImagePatterns(s.AllowedImages)
	v.that(err == nil, "ALLOWED_IMAGES", s.AllowedImages, "must be images with a tag or digest, separated by commas: %v", err)
	between(v, "SESSION_START_TIMEOUT", s.StartTimeout, Seconds(time.Second), Seconds(time.Hour))
	between(v, "SESSION_CLONE_TIMEOUT", s.CloneTimeout, Seconds(time.Second), Seconds(24*time.Hour))
	between(v, "SESSION_STOP_TIMEOUT", s.StopTimeout, 0, Seconds(10*time.Minute))
	between(v, "RECONCILE_INTERVAL", s.ReconcileInterval, Seconds(time.Second), Seconds(time.Hour))
	between(v, "SESSION_IDLE_TIMEOUT_MINUTES", s.IdleTimeoutMinutes, 0, 366*24*60)
	between(v, "SESSION_MAX_BUSY_HOURS", s.MaxBusyHours, 1, 366*24)
	between(v, "SESSION_MAX_LIFETIME_HOURS", s.MaxLifetimeHours, 0, 100*366*24)
	between(v, "SESSION_SIGN_IN_HOURS", s.SignInHours, 1, 366*24)
	between(v, "SESSION_DEVICE_DAYS", s.DeviceDays, 1, 366)
	between(v, "SESSION_WAKE_TIMEOUT", s.WakeTimeout, Seconds(time.Second), Seconds(10*time.Minute))
	between(v, "ORPHAN_GRACE", s.OrphanGrace, Seconds(time.Second), Seconds(30*24*time.Hour))
}

func (v *checker) health(h Health) {
	v.that(h.CheckInterval == 0 || h.CheckInterval >= Seconds(time.Second) && h.CheckInterval <= Seconds(time.Hour),
		"CONTAINER_HEALTH_CHECK_INTERVAL", h.CheckInterval, "must be between 1 and 3600, or 0 for no checks")
	between(v, "CONTAINER_HEALTH_TIMEOUT", h.Timeout, Seconds(100*time.Millisecond), Seconds(5*time.Minute))
	between(v, "CONTAINER_MAX_RESTART_ATTEMPTS", h.MaxRestarts, 0, 1000)
	between(v, "CONTAINER_RESTART_DELAY", h.RestartDelay, Seconds(time.Millisecond), Seconds(time.Hour))
	between(v, "CONTAINER_FAILURE_THRESHOLD", h.FailureThreshold, 1, 1000)
}

func (v *checker) webhook(w Webhook) {
	if w.URL == "" {
		return
	}
	u, err := url.Parse(w.URL.Reveal())
	v.that(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", "BERTH_WEBHOOK_URL", w.URL,
		"must begin with http:// or https:// and name a host")
	v.that(len(w.Secret.Reveal()) >= minAdminToken, "BERTH_WEBHOOK_SECRET", w.Secret, "must have at least %d characters", minAdminToken)
}

func (v *checker) limits(c Config) {
	l := c.Limits
	v.that(l.Memory > 0, "CONTAINER_MEMORY_LIMIT", l.Memory, "must be a size above 0, like 4g")
	if p, ok := c.Profiles[c.Session.Profile]; ok && l.Memory > 0 {
		v.that(l.Memory >= p.MinMem, "CONTAINER_MEMORY_LIMIT", l.Memory, "must be at least %s, which a server of profile %s needs",
			p.MinMem, c.Session.Profile)
	}
	between(v, "CONTAINER_CPU_QUOTA", l.CPUQuota, minQuota, 1024*maxPeriod)
	between(v, "CONTAINER_CPU_PERIOD", l.CPUPeriod, minQuota, maxPeriod)
	between(v, "CONTAINER_PIDS_LIMIT", l.PIDs, minPIDs, 1<<22)
	v.mostLimits(c)
	between(v, "MAX_CONCURRENT_SESSIONS", l.MaxSessions, 1, 100_000)
	between(v, "MAX_SESSIONS_PER_OWNER", l.MaxPerOwner, 0, 100_000)
	v.that(l.WorkspaceLimit == 0 || l.WorkspaceWarning <= l.WorkspaceLimit, "BERTH_WORKSPACE_LIMIT", l.WorkspaceLimit,
		"contradicts BERTH_WORKSPACE_WARN=%s: the warning must not be above the limit", l.WorkspaceWarning)
	v.thresholds(l)
}

// thresholds are fractions: 80 instead of 0.8 would disable the alert.
func (v *checker) thresholds(l Limits) {
	critical := l.Critical > 0 && l.Critical <= 1
	v.that(critical, "RESOURCE_CRITICAL_THRESHOLD", l.Critical, "must be a fraction above 0 and at most 1, like 0.95")
	if !critical {
		return
	}
	warning := func(variable string, value float64) {
		v.that(value > 0 && value < l.Critical, variable, value, "must be a fraction above 0 and below RESOURCE_CRITICAL_THRESHOLD=%v", l.Critical)
	}
	warning("MEMORY_WARNING_THRESHOLD", l.MemoryWarning)
	warning("CPU_WARNING_THRESHOLD", l.CPUWarning)
}

func (v *checker) token(t Token) {
	between(v, "SESSION_TOKEN_LENGTH", t.Length, minTokenLength, 1024)
	between(v, "SESSION_TOKEN_EXPIRY_HOURS", t.ExpiryHours, 1, 10*365*24)
	between(v, "TOKEN_CLEANUP_INTERVAL_MINUTES", t.CleanupIntervalMinutes, 1, 7*24*60)
	v.that(t.Secret == Auto || len(t.Secret) >= minTokenSecret, "SESSION_TOKEN_SECRET", t.Secret,
		"must be %s or at least %d characters", Auto, minTokenSecret)
}

func (v *checker) pool(c Config) {
	between(v, "PROXY_MAX_BODY_SIZE", c.Proxy.MaxBodySize, 1<<10, 1<<40)
	p := c.HTTPPool
	between(v, "HTTP_MAX_KEEPALIVE_CONNECTIONS", p.MaxKeepaliveConnections, 1, 1_000_000)
	between(v, "HTTP_MAX_CONNECTIONS", p.MaxConnections, 1, 1_000_000)
	v.that(p.MaxKeepaliveConnections <= p.MaxConnections, "HTTP_MAX_KEEPALIVE_CONNECTIONS", p.MaxKeepaliveConnections,
		"contradicts HTTP_MAX_CONNECTIONS=%d: it cannot be larger", p.MaxConnections)
	between(v, "HTTP_KEEPALIVE_EXPIRY", p.KeepaliveExpiry, Seconds(time.Second), Seconds(24*time.Hour))
	between(v, "HTTP_CONNECT_TIMEOUT", p.ConnectTimeout, Seconds(100*time.Millisecond), Seconds(10*time.Minute))
	between(v, "HTTP_READ_TIMEOUT", p.ReadTimeout, Seconds(time.Second), Seconds(24*time.Hour))
}

func (v *checker) log(l Log) {
	oneOf(v, "LOG_FORMAT", l.Format, "json", "human", Auto)
	v.that(l.Console || l.FileEnabled, "LOG_CONSOLE", l.Console, "contradicts LOG_FILE_ENABLED=false: nothing would be logged")
	v.that(l.File != "" || !l.FileEnabled, "LOG_FILE", l.File, "must be a file, because LOG_FILE_ENABLED is true")
	v.that(l.AuditFile != l.File || l.File == "", "LOG_AUDIT_FILE", l.AuditFile, "contradicts LOG_FILE: the audit trail needs a separate file")
	v.that(l.File == "" || l.RefusalsFile() != l.File, "LOG_AUDIT_FILE", l.AuditFile, "contradicts LOG_FILE: refusals beside the audit trail need a separate file")
	between(v, "LOG_MAX_SIZE_MB", l.MaxSizeMB, 1, 100_000)
	between(v, "LOG_BACKUP_COUNT", l.BackupCount, 1, 10_000)
}

func (v *checker) profiles(c Config) {
	names := slices.Sorted(maps.Keys(c.Profiles))
	_, known := c.Profiles[c.Session.Profile]
	v.that(known, "BERTH_PROFILE", c.Session.Profile, "must be one of the profiles: %s", strings.Join(names, ", "))
	for _, name := range names {
		if err := c.Profiles[name].Validate(); err != nil {
			for line := range strings.Lines(err.Error()) {
				v.that(false, "profiles."+name, "", "%s", strings.TrimSpace(line))
			}
		}
	}
}

// hostName is a name of DNS or of a hosts file.
var hostName = regexp.MustCompile(`^[a-zA-Z0-9_]([a-zA-Z0-9_-]*[a-zA-Z0-9_])?(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]*[a-zA-Z0-9_])?)*\.?$`)

// isHost reports whether text is an IP address, an IPv6 one perhaps in brackets, or a name that is not a malformed address.
func isHost(text string) bool {
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil {
		return !ip.IsUnspecified() && !ip.IsMulticast()
	}
	return hostName.MatchString(text) && strings.Trim(text, "0123456789.") != ""
}

// hostPort reports whether text is host:port with a port of at least low.
func hostPort(text string, low int) bool {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= low && n <= 65535
}

// visible reports whether text can be used in a header after "Bearer".
func visible(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}
