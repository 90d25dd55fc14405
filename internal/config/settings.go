package config

import (
	"path/filepath"
	"strings"
	"time"

	"berth/internal/session"
)

// The doc comments of the fields below are the text of docs/configuration.md and of `berth config docs`; a tag
// "default" shows there what an empty default becomes.

// Server says where Berth listens and what it keeps.
type Server struct {
	// Address that the API and the proxy listen on, `host:port`. Port 0 lets the system choose one.
	Listen string `yaml:"listen" env:"BERTH_LISTEN"`
	// Directory of Berth's own state: sessions, admin token, token secret. For everyone but root the default is
	// `$XDG_STATE_HOME/berth` or `~/.local/state/berth`.
	StateDir string `yaml:"state_dir" env:"BERTH_STATE_DIR" default:"/var/lib/berth"`
	// Secret that opens the operator API, at least 16 characters. Empty: one is generated and kept in the file
	// `admin-token` of the state directory, readable by its owner only.
	AdminToken session.Secret `yaml:"admin_token,omitempty" env:"BERTH_ADMIN_TOKEN"`
	// Proxies of yours that stand in front of Berth: IP addresses and CIDR networks, separated by commas, none wider than
	// /8, or /16 of IPv6. Of requests that come from one, `X-Forwarded-For` (its last address that is no such proxy) and
	// `X-Forwarded-Proto` say the client's address and scheme, for limits, the audit trail, logs and the sessions' servers.
	// Empty: no such header is believed.
	TrustedProxies string `yaml:"trusted_proxies" env:"TRUSTED_PROXIES"`
	// How long requests in flight may take to finish when Berth stops. Sessions are never stopped with it.
	DrainTimeout Seconds `yaml:"drain_timeout" env:"BERTH_DRAIN_TIMEOUT"`
	// This configuration file. Empty: `/etc/berth/berth.yaml` if it is there; `/dev/null` for none.
	ConfigFile string `yaml:"-" env:"BERTH_CONFIG"`
}

// Webhook says who is told at once of sessions that fail.
type Webhook struct {
	// URL that is sent a signed request when a session fails, is restarted or runs out of memory. Empty: none.
	URL session.Secret `yaml:"url,omitempty" env:"BERTH_WEBHOOK_URL"`
	// Secret that those requests are signed with, 16 characters or more.
	Secret session.Secret `yaml:"secret,omitempty" env:"BERTH_WEBHOOK_SECRET"`
}

// Database says where PostgreSQL is, when sessions are kept there.
type Database struct {
	// Whether sessions are kept in PostgreSQL, which several instances of Berth may share. `false`: in a JSON file in the
	// state directory, for one instance. The first start with `true` moves the file's sessions into the database.
	Use bool `yaml:"use" env:"USE_DATABASE_STORAGE"`
	// The whole connection as one URL, `postgres://user@host:port/name?sslmode=verify-full`. It wins over the single
	// settings below.
	URL session.Secret `yaml:"url,omitempty" env:"DATABASE_URL"`
	// Host of the database: a name, an address, or the directory of its Unix socket.
	Host string `yaml:"host" env:"DB_HOST"`
	// Port of the database.
	Port int `yaml:"port" env:"DB_PORT"`
	// User that Berth is for the database.
	User string `yaml:"user" env:"DB_USER"`
	// Password of that user. There is no default; empty where the database asks for none.
	Password session.Secret `yaml:"password,omitempty" env:"DB_PASSWORD"`
	// File with the password, instead of `DB_PASSWORD`.
	PasswordFile string `yaml:"password_file" env:"DB_PASSWORD_FILE"`
	// Name of the database.
	Name string `yaml:"name" env:"DB_NAME"`
	// How the connection is secured: `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`, as libpq
	// understands them. Only the last two keep out who stands between; other hosts than this one want them.
	SSLMode string `yaml:"ssl_mode" env:"DB_SSLMODE"`
	// Certificate of the CA that signed the database's certificate.
	SSLRootCert string `yaml:"ssl_root_cert" env:"DB_SSLROOTCERT"`
	// Client certificate, where the database asks for one.
	SSLCert string `yaml:"ssl_cert" env:"DB_SSLCERT"`
	// Key of the client certificate.
	SSLKey string `yaml:"ssl_key" env:"DB_SSLKEY"`
	// Connections that are kept open.
	MinConnections int `yaml:"min_connections" env:"DB_MIN_CONNECTIONS"`
	// Most connections at once. One more is held to hear of changes.
	MaxConnections int `yaml:"max_connections" env:"DB_MAX_CONNECTIONS"`
	// Queries after which a connection is replaced by a fresh one.
	MaxQueries int `yaml:"max_queries" env:"DB_MAX_QUERIES"`
	// How long an unused connection is kept beyond `DB_MIN_CONNECTIONS`.
	MaxInactiveLifetime Seconds `yaml:"max_inactive_lifetime" env:"DB_MAX_INACTIVE_LIFETIME"`
	// Whether work goes on while the database is away: changes are journalled in the state directory and flow back when
	// it returns. `false`: they are refused with 503 meanwhile. Running sessions are served in either case.
	Fallback bool `yaml:"fallback" env:"DB_FALLBACK"`
}

// Docker says how the Docker engine is reached, always over mutual TLS.
type Docker struct {
	// Endpoint of the engine, `tcp://host:port`. Unset, it is made of `DOCKER_HOST_IP` and `DOCKER_TLS_PORT`. A
	// `unix://` endpoint is refused unless `--insecure-docker-socket` is given.
	Host string `yaml:"host" env:"DOCKER_HOST" default:"tcp://host.docker.internal:2376"`
	// Host of the engine, when `DOCKER_HOST` is not set.
	HostIP string `yaml:"host_ip" env:"DOCKER_HOST_IP"`
	// Port of the engine, when `DOCKER_HOST` is not set.
	TLSPort int `yaml:"tls_port" env:"DOCKER_TLS_PORT"`
	// Whether the engine's certificate is verified (`1` or `0`). `0` is refused where `DOCKER_ENV` is `production`.
	TLSVerify bool `yaml:"tls_verify" env:"DOCKER_TLS_VERIFY" default:"1"`
	// Directory of `ca.pem`, `client-cert.pem` and `client-key.pem`. Docker's own names `cert.pem` and `key.pem` are
	// understood as well.
	CertPath string `yaml:"cert_path" env:"DOCKER_CERT_PATH"`
	// Certificate of the CA that signed the engine's certificate. It overrides the directory.
	CACert string `yaml:"ca_cert" env:"DOCKER_CA_CERT" default:"./docker/certs/ca.pem"`
	// Client certificate. It overrides the directory.
	ClientCert string `yaml:"client_cert" env:"DOCKER_CLIENT_CERT" default:"./docker/certs/client-cert.pem"`
	// Key of the client certificate. It overrides the directory.
	ClientKey string `yaml:"client_key" env:"DOCKER_CLIENT_KEY" default:"./docker/certs/client-key.pem"`
	// Public keys of which the engine's certificate, or the CA that signed it, must have one, in addition to everything
	// else that is verified: SHA-256 of the SubjectPublicKeyInfo in base64 or hexadecimal, with or without `sha256//` before
	// it, several with commas between. `berth certs list` prints them. Empty: any.
	TLSPin string `yaml:"tls_pin" env:"DOCKER_TLS_PIN"`
	// Kind of installation: `development`, `test`, `staging` or `production`. In production everything that weakens
	// isolation or verification is refused rather than warned of.
	Env string `yaml:"env" env:"DOCKER_ENV"`
	// Whether operations on the engine run concurrently. `false`: one at a time.
	Async bool `yaml:"async" env:"USE_ASYNC_DOCKER"`
	// Most operations that run on the engine at once, stops not counted; the rest wait. `0`: as many as the engine has CPUs.
	MaxOperations int `yaml:"max_operations" env:"DOCKER_MAX_OPERATIONS"`
	// Longest time that one operation on the engine may take. It must be longer than `SESSION_STOP_TIMEOUT`.
	OperationTimeout Seconds `yaml:"operation_timeout" env:"DOCKER_OPERATION_TIMEOUT"`
	// Name of the bridge network of the session containers. It is created when it is missing.
	Network string `yaml:"network" env:"DOCKER_NETWORK"`
	// Address or name at which the ports that the Docker host publishes are reached from here, whatever else is found.
	// Empty: it is detected where it has to be; `berth hostip` shows how.
	ReachedAt string `yaml:"reached_at" env:"HOST_IP"`
	// Where the Docker host may be, tried after `host.docker.internal`.
	HostGateway string `yaml:"host_gateway" env:"DOCKER_HOST_GATEWAY"`
	// Where the Docker host may be, tried after `DOCKER_HOST_GATEWAY`.
	Gateway string `yaml:"gateway" env:"GATEWAY"`
	// Whether a unix:// endpoint is allowed. Only the command line can say so.
	InsecureSocket bool `yaml:"-" env:"-"`
}

// Session says what a session is and how long its moves may take.
type Session struct {
	// What runs the sessions: `docker`, or `process`, which runs the server as a child process without any isolation
	// and is refused where `DOCKER_ENV` is `production`.
	Runtime string `yaml:"runtime" env:"BERTH_RUNTIME"`
	// Image profile of new sessions: `opencode`, or a name under `profiles:` in the configuration file.
	Profile string `yaml:"profile" env:"BERTH_PROFILE"`
	// Address of the Docker host on which session ports are published: an IP address, or `auto` for the loopback
	// address or the detected bridge address, whichever Berth can reach.
	PublishIP string `yaml:"publish_ip" env:"SESSION_PUBLISH_IP"`
	// How session servers are reached: `published` on a port of the Docker host, `network` at the container's own address
	// on `DOCKER_NETWORK`, without a published port, or `auto`: by the network where Berth runs on the Docker host itself,
	// unless `SESSION_PUBLISH_IP` names an address.
	Route string `yaml:"route" env:"SESSION_ROUTE"`
	// How long a session may take from its creation or start until its server answers.
	StartTimeout Seconds `yaml:"start_timeout" env:"SESSION_START_TIMEOUT"`
	// How long a server may take to end before it is killed.
	StopTimeout Seconds `yaml:"stop_timeout" env:"SESSION_STOP_TIMEOUT"`
	// How often records and containers are compared and made to agree.
	ReconcileInterval Seconds `yaml:"reconcile_interval" env:"RECONCILE_INTERVAL"`
	// How long a container must have been seen without a record before it is removed. Beside an empty store none is.
	OrphanGrace Seconds `yaml:"orphan_grace" env:"ORPHAN_GRACE"`
	// Minutes after which a session that nobody uses is stopped; its next request wakes it. Requests, open streams and
	// terminals with traffic, and a server that is at work count as use. `0`: never.
	IdleTimeoutMinutes int `yaml:"idle_timeout_minutes" env:"SESSION_IDLE_TIMEOUT_MINUTES"`
	// Hours for which a server's own work keeps a session up that nobody uses otherwise.
	MaxBusyHours int `yaml:"max_busy_hours" env:"SESSION_MAX_BUSY_HOURS"`
	// Hours after its creation at which a session is stopped for good; its workspace stays until it is deleted. `0`: never.
	MaxLifetimeHours int `yaml:"max_lifetime_hours" env:"SESSION_MAX_LIFETIME_HOURS"`
	// How long a request waits for a session that it wakes before it is told to try again.
	WakeTimeout Seconds `yaml:"wake_timeout" env:"SESSION_WAKE_TIMEOUT"`
	// Program that the `process` runtime runs instead of the first word of the profile's command: a path, or a name
	// that is looked up in `PATH`. Empty: the profile's own.
	ProcessCommand string `yaml:"process_command" env:"PROCESS_COMMAND"`
}

// Health says how running sessions are looked after.
type Health struct {
	// How often each running session's server is asked to show that it works. `0`: never, and nothing is restarted.
	CheckInterval Seconds `yaml:"check_interval" env:"CONTAINER_HEALTH_CHECK_INTERVAL"`
	// How long a server may take over its answer.
	Timeout Seconds `yaml:"timeout" env:"CONTAINER_HEALTH_TIMEOUT"`
	// How often a session is restarted in a row before it is given up. A healthy period of ten minutes, or a restart by
	// hand, begins anew. `0`: nothing is restarted.
	MaxRestarts int `yaml:"max_restarts" env:"CONTAINER_MAX_RESTART_ATTEMPTS"`
	// How long to wait before the first restart; twice as long before each further one.
	RestartDelay Seconds `yaml:"restart_delay" env:"CONTAINER_RESTART_DELAY"`
	// Failed checks in a row after which a server is restarted. One that has ended is restarted at once.
	FailureThreshold int `yaml:"failure_threshold" env:"CONTAINER_FAILURE_THRESHOLD"`
}

// Limits bounds what sessions may use.
type Limits struct {
	// Memory of one session container, without swap on top. Not below what the image profile needs (`512m` for
	// OpenCode).
	Memory session.Bytes `yaml:"memory" env:"CONTAINER_MEMORY_LIMIT"`
	// CPU time of one session container per period, in microseconds. `100000` of `100000` is one CPU.
	CPUQuota int64 `yaml:"cpu_quota" env:"CONTAINER_CPU_QUOTA"`
	// Length of the CPU period in microseconds, `1000` to `1000000`.
	CPUPeriod int64 `yaml:"cpu_period" env:"CONTAINER_CPU_PERIOD"`
	// Most processes and threads in one session container. An OpenCode server that meets this limit aborts.
	PIDs int64 `yaml:"pids" env:"CONTAINER_PIDS_LIMIT"`
	// Most sessions that may run at once.
	MaxSessions int `yaml:"max_sessions" env:"MAX_CONCURRENT_SESSIONS"`
	// Size of a session's volumes, workspace and state together, from which Berth warns. It is measured every ten
	// `RECONCILE_INTERVAL`s, where Berth can read the engine's volumes. `0`: never.
	WorkspaceWarning session.Bytes `yaml:"workspace_warning" env:"BERTH_WORKSPACE_WARN"`
	// Size from which a running session is stopped. Not a quota: what is written between two measurements is not held up.
	// `0`: none is stopped.
	WorkspaceLimit session.Bytes `yaml:"workspace_limit" env:"BERTH_WORKSPACE_LIMIT"`
	// Fraction of the host's memory in use from which Berth warns.
	MemoryWarning float64 `yaml:"memory_warning" env:"MEMORY_WARNING_THRESHOLD"`
	// Fraction of the host's CPU time in use from which Berth warns.
	CPUWarning float64 `yaml:"cpu_warning" env:"CPU_WARNING_THRESHOLD"`
	// Fraction of either in use from which no session is started any more. `1`: sessions are started however busy the host
	// is.
	Critical float64 `yaml:"critical" env:"RESOURCE_CRITICAL_THRESHOLD"`
}

// Token says how session tokens are made.
type Token struct {
	// Random characters of a session token. At least 22, which is 128 bits.
	Length int `yaml:"length" env:"SESSION_TOKEN_LENGTH"`
	// Hours after which a session token expires.
	ExpiryHours int `yaml:"expiry_hours" env:"SESSION_TOKEN_EXPIRY_HOURS"`
	// Minutes between two removals of the digests of expired tokens from the store. Expired tokens are refused from the
	// moment on, whether they were removed or not.
	CleanupIntervalMinutes int `yaml:"cleanup_interval_minutes" env:"TOKEN_CLEANUP_INTERVAL_MINUTES"`
	// Key under which tokens are digested and upstream credentials derived, at least 32 characters. `auto`: made once
	// and kept in the state directory, readable by its owner only; with a database also there, so that all instances
	// share it.
	Secret session.Secret `yaml:"secret" env:"SESSION_TOKEN_SECRET"`
}

// Expiry is the life of a session token.
func (t Token) Expiry() time.Duration { return time.Duration(t.ExpiryHours) * time.Hour }

// Proxy says what clients may send through the proxy.
type Proxy struct {
	// Largest request body; a larger one is answered with 413.
	MaxBodySize session.Bytes `yaml:"max_body_size" env:"PROXY_MAX_BODY_SIZE"`
	// Whether to believe `X-Forwarded-Proto` whoever sends it. Name your proxy in `TRUSTED_PROXIES` instead, which believes
	// nobody else. Without either, requests of browsers that came by https are taken for those of another site.
	TrustForwardedProto bool `yaml:"trust_forwarded_proto" env:"PROXY_TRUST_FORWARDED_PROTO"`
}

// HTTPPool says how the proxy keeps its connections to session servers.
type HTTPPool struct {
	// Most idle connections kept for one session.
	MaxKeepaliveConnections int `yaml:"max_keepalive_connections" env:"HTTP_MAX_KEEPALIVE_CONNECTIONS"`
	// Most requests at once to one session; as many event streams and upgrades may be open beside them.
	MaxConnections int `yaml:"max_connections" env:"HTTP_MAX_CONNECTIONS"`
	// How long an idle connection is kept.
	KeepaliveExpiry Seconds `yaml:"keepalive_expiry" env:"HTTP_KEEPALIVE_EXPIRY"`
	// How long establishing a connection may take, and how long a request waits for its turn when
	// `HTTP_MAX_CONNECTIONS` is reached.
	ConnectTimeout Seconds `yaml:"connect_timeout" env:"HTTP_CONNECT_TIMEOUT"`
	// How long a server may take from the end of an ordinary request to the header of its answer; then the client gets
	// 504. Event streams, WebSockets and the calls that the image profile lists as silent wait for as long as it takes.
	ReadTimeout Seconds `yaml:"read_timeout" env:"HTTP_READ_TIMEOUT"`
}

// Log says what is logged and where.
type Log struct {
	// Least severe level that is logged: `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`.
	Level LogLevel `yaml:"level" env:"LOG_LEVEL"`
	// Form of the lines on the console: `json`, `human`, or `auto` for human on a terminal and JSON elsewhere. The log
	// file is always JSON.
	Format string `yaml:"format" env:"LOG_FORMAT"`
	// Whether to log to the console (standard error).
	Console bool `yaml:"console" env:"LOG_CONSOLE"`
	// Whether to log to `LOG_FILE`.
	FileEnabled bool `yaml:"file_enabled" env:"LOG_FILE_ENABLED"`
	// Log file. It takes effect with `LOG_FILE_ENABLED`.
	File string `yaml:"file" env:"LOG_FILE"`
	// File of the audit trail, which takes effect with `LOG_FILE_ENABLED`, and is rotated like the log file. Empty: beside
	// `LOG_FILE`, with `-audit` in its name. Requests without a valid token are recorded beside it in a file of their own,
	// with `-refusals` in its name. Without log files the trail is on the console.
	AuditFile string `yaml:"audit_file" env:"LOG_AUDIT_FILE" default:"/var/log/lovdata-chat-audit.log"`
	// Size in megabytes at which the log file is rotated.
	MaxSizeMB int `yaml:"max_size_mb" env:"LOG_MAX_SIZE_MB"`
	// Rotated log files that are kept.
	BackupCount int `yaml:"backup_count" env:"LOG_BACKUP_COUNT"`
}

// RefusalsFile is the file of the refusals of requests without a valid token, beside AuditFile: rotated by itself, it never
// pushes records of changes out of the audit trail. Empty where AuditFile is.
func (l Log) RefusalsFile() string {
	if l.AuditFile == "" {
		return ""
	}
	ext := filepath.Ext(l.AuditFile)
	return strings.TrimSuffix(l.AuditFile, ext) + "-refusals" + ext
}
