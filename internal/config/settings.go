package config

import (
	"path/filepath"
	"strings"
	"time"

	"berth/internal/session"
)

// The doc comments of the fields below are the text of docs/configuration.md and of `berth config docs`; a tag
// "default" shows there what an empty default becomes.

// Server configures the listen address and the state directory of Berth.
type Server struct {
	// Address that the API and the proxy listen on, `host:port`. Port 0 lets the system choose one.
	Listen string `yaml:"listen" env:"BERTH_LISTEN"`
	// Berth's own address as its users open it, like `https://berth.example.com`. With it, requests to host names of others are
	// refused. Empty: not known, and any name that is not a session's is Berth's.
	PublicURL string `yaml:"public_url" env:"BERTH_PUBLIC_URL"`
	// Directory of Berth's own state: sessions, admin token, token secret. For everyone but root the default is
	// `$XDG_STATE_HOME/berth` or `~/.local/state/berth`.
	StateDir string `yaml:"state_dir" env:"BERTH_STATE_DIR" default:"/var/lib/berth"`
	// Token of the operator API, at least 16 characters. Empty: one is generated and kept in the file `admin-token` of the
	// state directory, readable by its owner only.
	AdminToken session.Secret `yaml:"admin_token,omitempty" env:"BERTH_ADMIN_TOKEN"`
	// Reverse proxies in front of Berth: IP addresses and CIDR networks, separated by commas, none wider than /8, or /16 for
	// IPv6. In requests from one of them, `X-Forwarded-For` (its last address that is not a trusted proxy) and
	// `X-Forwarded-Proto` give the client's address and scheme, for limits, the audit trail, logs and the sessions' servers.
	// Empty: these headers are ignored.
	TrustedProxies string `yaml:"trusted_proxies" env:"TRUSTED_PROXIES"`
	// Certificates of `BERTH_LISTEN`, as PEM files with their chains, separated by commas. With them it speaks TLS, HTTP/2
	// included. The name that a client asks for selects one of them; the first one is for all other clients. Changed files are
	// read without a restart. Empty: it speaks plain HTTP.
	TLSCert string `yaml:"tls_cert" env:"BERTH_TLS_CERT"`
	// Their private keys, in the same order.
	TLSKey string `yaml:"tls_key" env:"BERTH_TLS_KEY"`
	// E-mail address of the account at an ACME authority. With it Berth obtains the certificates of `BERTH_PUBLIC_URL`'s host and,
	// with `BERTH_ACME_DNS_HOOK`, of `*.SESSION_DOMAIN`, unless a file is for them, and renews them. Setting it agrees to the
	// authority's terms of service. Its challenges arrive on port 443, or on port 80 at `BERTH_REDIRECT_LISTEN`.
	ACMEEmail string `yaml:"acme_email" env:"BERTH_ACME_EMAIL"`
	// URL of that authority's directory.
	ACMECA string `yaml:"acme_ca" env:"BERTH_ACME_CA" default:"https://acme-v02.api.letsencrypt.org/directory"`
	// PEM file with the certificate authority of that URL, if it is a private one.
	ACMECARoot string `yaml:"acme_ca_root" env:"BERTH_ACME_CA_ROOT"`
	// Program, an absolute path, that sets the TXT record of a challenge for `*.SESSION_DOMAIN` and removes it. It is run without a
	// shell as `PROGRAM present FQDN VALUE` and `PROGRAM cleanup FQDN VALUE`, with `PATH` and `HOME` only.
	ACMEDNSHook string `yaml:"acme_dns_hook" env:"BERTH_ACME_DNS_HOOK"`
	// Another address, `host:port`, that answers plain HTTP with a redirect to https, for the hosts of the certificates. Usually
	// `0.0.0.0:80`. Empty: none.
	RedirectListen string `yaml:"redirect_listen" env:"BERTH_REDIRECT_LISTEN"`
	// Time for requests in flight to finish when Berth stops. Sessions are not stopped with it.
	DrainTimeout Seconds `yaml:"drain_timeout" env:"BERTH_DRAIN_TIMEOUT"`
	// This configuration file. Empty: `/etc/berth/berth.yaml` if it is there; `/dev/null` for none.
	ConfigFile string `yaml:"-" env:"BERTH_CONFIG"`
}

// Gateway configures the way out of sessions' containers: what Berth serves at its address on their networks.
type Gateway struct {
	// Whether it is served. `false`: sessions have no models and no git hosts of the operator's, and reach what the Docker host reaches.
	Enabled bool `yaml:"enabled" env:"GATEWAY_ENABLED"`
	// Its TCP port for models, git hosts and as a proxy. The firewall rules of `berth docker firewall` let sessions reach it.
	Port int `yaml:"port" env:"GATEWAY_PORT"`
}

// Webhook configures the notification of failed sessions.
type Webhook struct {
	// URL for a signed request when a session fails, is restarted or runs out of memory. Empty: none.
	URL session.Secret `yaml:"url,omitempty" env:"BERTH_WEBHOOK_URL"`
	// Secret that signs these requests, 16 characters or more.
	Secret session.Secret `yaml:"secret,omitempty" env:"BERTH_WEBHOOK_SECRET"`
}

// Database configures the connection to PostgreSQL, when sessions are stored there.
type Database struct {
	// Whether sessions are stored in PostgreSQL, which several instances of Berth may share. `false`: in a JSON file in the
	// state directory, for one instance. The first start with `true` migrates the file's sessions to the database.
	Use bool `yaml:"use" env:"USE_DATABASE_STORAGE"`
	// The connection as a URL, `postgres://user@host:port/name?sslmode=verify-full`. It overrides the single settings below.
	URL session.Secret `yaml:"url,omitempty" env:"DATABASE_URL"`
	// Host of the database: a name, an address, or the directory of its Unix socket.
	Host string `yaml:"host" env:"DB_HOST"`
	// Port of the database.
	Port int `yaml:"port" env:"DB_PORT"`
	// Name of the database user.
	User string `yaml:"user" env:"DB_USER"`
	// Password of that user. There is no default; empty if the database needs none.
	Password session.Secret `yaml:"password,omitempty" env:"DB_PASSWORD"`
	// File with the password, instead of `DB_PASSWORD`.
	PasswordFile string `yaml:"password_file" env:"DB_PASSWORD_FILE"`
	// Name of the database.
	Name string `yaml:"name" env:"DB_NAME"`
	// How the connection is secured: `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`, as libpq
	// defines them. Only the last two prevent man-in-the-middle attacks; use one of them for a database on another host.
	SSLMode string `yaml:"ssl_mode" env:"DB_SSLMODE"`
	// Certificate of the CA that signed the database's certificate.
	SSLRootCert string `yaml:"ssl_root_cert" env:"DB_SSLROOTCERT"`
	// Client certificate, if the database requires one.
	SSLCert string `yaml:"ssl_cert" env:"DB_SSLCERT"`
	// Key of the client certificate.
	SSLKey string `yaml:"ssl_key" env:"DB_SSLKEY"`
	// Minimum number of open connections.
	MinConnections int `yaml:"min_connections" env:"DB_MIN_CONNECTIONS"`
	// Maximum number of connections. One more is used for change notifications.
	MaxConnections int `yaml:"max_connections" env:"DB_MAX_CONNECTIONS"`
	// Queries after which a connection is replaced by a new one.
	MaxQueries int `yaml:"max_queries" env:"DB_MAX_QUERIES"`
	// How long an idle connection is kept beyond `DB_MIN_CONNECTIONS`.
	MaxInactiveLifetime Seconds `yaml:"max_inactive_lifetime" env:"DB_MAX_INACTIVE_LIFETIME"`
	// Whether changes are possible while the database is unavailable: they are journalled in the state directory and
	// replayed when it has recovered. `false`: they are refused with 503. Running sessions are served in either case.
	Fallback bool `yaml:"fallback" env:"DB_FALLBACK"`
}

// Docker configures the connection to the Docker engine, over mutual TLS.
type Docker struct {
	// Endpoint of the engine, `tcp://host:port`. Unset, it is composed of `DOCKER_HOST_IP` and `DOCKER_TLS_PORT`. A
	// `unix://` endpoint is refused without `--insecure-docker-socket`.
	Host string `yaml:"host" env:"DOCKER_HOST" default:"tcp://host.docker.internal:2376"`
	// Host of the engine, when `DOCKER_HOST` is not set.
	HostIP string `yaml:"host_ip" env:"DOCKER_HOST_IP"`
	// Port of the engine, when `DOCKER_HOST` is not set.
	TLSPort int `yaml:"tls_port" env:"DOCKER_TLS_PORT"`
	// Whether the engine's certificate is verified (`1` or `0`). `0` is refused where `DOCKER_ENV` is `production`.
	TLSVerify bool `yaml:"tls_verify" env:"DOCKER_TLS_VERIFY" default:"1"`
	// Directory of `ca.pem`, `client-cert.pem` and `client-key.pem`. Docker's own names `cert.pem` and `key.pem` are
	// accepted as well.
	CertPath string `yaml:"cert_path" env:"DOCKER_CERT_PATH"`
	// Certificate of the CA that signed the engine's certificate. It overrides the directory.
	CACert string `yaml:"ca_cert" env:"DOCKER_CA_CERT" default:"./docker/certs/ca.pem"`
	// Client certificate. It overrides the directory.
	ClientCert string `yaml:"client_cert" env:"DOCKER_CLIENT_CERT" default:"./docker/certs/client-cert.pem"`
	// Key of the client certificate. It overrides the directory.
	ClientKey string `yaml:"client_key" env:"DOCKER_CLIENT_KEY" default:"./docker/certs/client-key.pem"`
	// Public key pins: the engine's certificate, or the CA that signed it, must have one of these keys, in addition to the
	// other checks. SHA-256 of the SubjectPublicKeyInfo in base64 or hexadecimal, with or without the prefix `sha256//`,
	// separated by commas. `berth certs list` prints them. Empty: any.
	TLSPin string `yaml:"tls_pin" env:"DOCKER_TLS_PIN"`
	// Kind of installation: `development`, `test`, `staging` or `production`. In production, settings that weaken isolation
	// or verification are errors instead of warnings.
	Env string `yaml:"env" env:"DOCKER_ENV"`
	// Whether operations on the engine run concurrently. `false`: one at a time.
	Async bool `yaml:"async" env:"USE_ASYNC_DOCKER"`
	// Maximum number of concurrent operations on the engine, not counting stops; the rest wait. `0`: the engine's number of
	// CPUs.
	MaxOperations int `yaml:"max_operations" env:"DOCKER_MAX_OPERATIONS"`
	// Time-out of one operation on the engine. It must be longer than `SESSION_STOP_TIMEOUT`.
	OperationTimeout Seconds `yaml:"operation_timeout" env:"DOCKER_OPERATION_TIMEOUT"`
	// Name of the bridge network of the session containers. It is created if it is missing.
	Network string `yaml:"network" env:"DOCKER_NETWORK"`
	// Address or name at which the published ports of the Docker host are reached. It overrides the detection. Empty: it is
	// detected if needed; `berth hostip` shows how.
	ReachedAt string `yaml:"reached_at" env:"HOST_IP"`
	// Candidate for the Docker host's address, tried after `host.docker.internal`.
	HostGateway string `yaml:"host_gateway" env:"DOCKER_HOST_GATEWAY"`
	// Candidate for the Docker host's address, tried after `DOCKER_HOST_GATEWAY`.
	Gateway string `yaml:"gateway" env:"GATEWAY"`
	// Whether a unix:// endpoint is allowed. It is a flag of the command line only.
	InsecureSocket bool `yaml:"-" env:"-"`
}

// Session configures the runtime, the time-outs and the lifetime of sessions.
type Session struct {
	// What runs the sessions: `docker`, or `process`, which runs the server as a child process without any isolation
	// and is refused where `DOCKER_ENV` is `production`.
	Runtime string `yaml:"runtime" env:"BERTH_RUNTIME"`
	// Image profile of new sessions: `opencode`, or one of `profiles:` in the configuration file.
	Profile string `yaml:"profile" env:"BERTH_PROFILE"`
	// Images that a session may be created with or upgraded to beside those of the profiles, separated by commas: `image:tag`,
	// `image@sha256:…`, `image:*` for every tag and digest, or `*` for every image that the engine has. Sessions that have another
	// image keep it.
	AllowedImages string `yaml:"allowed_images" env:"ALLOWED_IMAGES"`
	// Host name below which every session has a name of its own, `{id}.SESSION_DOMAIN`, with a port where it is not that of
	// `BERTH_PUBLIC_URL`. A wildcard DNS record must lead there. Best is a domain that is registered apart from Berth's own.
	// Empty: there are none, and browsers reach sessions only where Berth listens on a loopback address, at `{id}.localhost`.
	Domain string `yaml:"domain" env:"SESSION_DOMAIN"`
	// Ports of which each running session gets one, like `20000-20999`, on the address of `BERTH_LISTEN` and with its TLS: for where
	// no wildcard DNS record is to be had. Sessions' pages then share the cookies of one host; names are better. Empty: none.
	Ports string `yaml:"ports" env:"SESSION_PORTS"`
	// Origins of clients that are web pages elsewhere, separated by commas, beside those of OpenCode's desktop programs
	// (`oc://renderer`, `tauri://localhost`, `http://tauri.localhost`, `https://tauri.localhost`). They may use sessions with a
	// token that they send themselves.
	CrossOrigins string `yaml:"cors_origins" env:"CORS_ORIGINS"`
	// How long a browser that has signed in to a session stays signed in, at most as long as the session's token is valid.
	SignInHours int `yaml:"sign_in_hours" env:"SESSION_SIGN_IN_HOURS"`
	// Whether programs may pair with a session as OpenCode 2's clients do (`POST /api/pair`, `GET /auth/connect/{code}`): each gets a
	// token of its own, which is listed and ended like a browser's sign-in.
	Devices bool `yaml:"devices" env:"SESSION_DEVICES"`
	// How long the token of a paired device is valid, at most as long as the session's token. Devices renew theirs.
	DeviceDays int `yaml:"device_days" env:"SESSION_DEVICE_DAYS"`
	// Address of the Docker host on which session ports are published: an IP address, or `auto` for the loopback
	// address or the detected bridge address, whichever Berth can reach.
	PublishIP string `yaml:"publish_ip" env:"SESSION_PUBLISH_IP"`
	// How session servers are reached: `published` on a port of the Docker host, `network` at the container's own address
	// on `DOCKER_NETWORK`, without a published port, or `auto`: by the network where Berth runs on the Docker host itself,
	// unless `SESSION_PUBLISH_IP` names an address. Sessions on the internal network, which publishes no ports, are always reached at
	// the container's own address.
	Route string `yaml:"route" env:"SESSION_ROUTE"`
	// Subnet of the internal network, which is called like `DOCKER_NETWORK` with `-internal` behind it and is that of sessions with
	// `egress` `none` or `listed`: a private IPv4 network of /16 to /28, like `10.213.0.0/20`. The gateway has its first address.
	// `auto`: `10.213.0.0/20` where that is free and `DOCKER_NETWORK` is `berth`, otherwise a free part of `10.208.0.0/12`. A network that
	// exists is made anew with the subnet at Berth's next start without a running container on it.
	Subnet string `yaml:"subnet" env:"SESSION_SUBNET"`
	// The same of `DOCKER_NETWORK`, which is that of sessions with `egress` `open`. `auto`: `10.213.16.0/20`, or another one like above.
	OpenSubnet string `yaml:"open_subnet" env:"SESSION_OPEN_SUBNET"`
	// Time-out of a creation or start, until the session's server answers.
	StartTimeout Seconds `yaml:"start_timeout" env:"SESSION_START_TIMEOUT"`
	// Additional time for the first start of a session with a repository, in which that is cloned.
	CloneTimeout Seconds `yaml:"clone_timeout" env:"SESSION_CLONE_TIMEOUT"`
	// Time for a server to exit before it is killed.
	StopTimeout Seconds `yaml:"stop_timeout" env:"SESSION_STOP_TIMEOUT"`
	// Interval of the reconciliation of records and containers.
	ReconcileInterval Seconds `yaml:"reconcile_interval" env:"RECONCILE_INTERVAL"`
	// How long a container must have been seen without a record before it is removed. With an empty store none is removed.
	OrphanGrace Seconds `yaml:"orphan_grace" env:"ORPHAN_GRACE"`
	// Idle time in minutes after which a session is stopped; its next request wakes it. Requests, open streams and terminals
	// with traffic, and a busy server count as activity. `0`: never.
	IdleTimeoutMinutes int `yaml:"idle_timeout_minutes" env:"SESSION_IDLE_TIMEOUT_MINUTES"`
	// Hours for which a busy server keeps a session running without other activity.
	MaxBusyHours int `yaml:"max_busy_hours" env:"SESSION_MAX_BUSY_HOURS"`
	// Lifetime in hours, after which a session is stopped permanently; its workspace is kept until it is deleted. `0`: no
	// limit.
	MaxLifetimeHours int `yaml:"max_lifetime_hours" env:"SESSION_MAX_LIFETIME_HOURS"`
	// How long a request waits for a session that it wakes, before it is answered with 503 and `Retry-After`.
	WakeTimeout Seconds `yaml:"wake_timeout" env:"SESSION_WAKE_TIMEOUT"`
	// Program that the `process` runtime runs instead of the first word of the profile's command: a path, or a name
	// that is looked up in `PATH`. Empty: the profile's own.
	ProcessCommand string `yaml:"process_command" env:"PROCESS_COMMAND"`
}

// Health configures the monitoring and the restarts of running sessions.
type Health struct {
	// Interval of the health checks of each running session's server. `0`: no checks and no restarts.
	CheckInterval Seconds `yaml:"check_interval" env:"CONTAINER_HEALTH_CHECK_INTERVAL"`
	// Time-out of one health check.
	Timeout Seconds `yaml:"timeout" env:"CONTAINER_HEALTH_TIMEOUT"`
	// Maximum number of consecutive restarts of a session before it fails. A healthy period of ten minutes, or a manual
	// restart, resets the count. `0`: no restarts.
	MaxRestarts int `yaml:"max_restarts" env:"CONTAINER_MAX_RESTART_ATTEMPTS"`
	// Delay before the first restart; it doubles with each further one.
	RestartDelay Seconds `yaml:"restart_delay" env:"CONTAINER_RESTART_DELAY"`
	// Consecutive failed checks after which a server is restarted. One that has exited is restarted at once.
	FailureThreshold int `yaml:"failure_threshold" env:"CONTAINER_FAILURE_THRESHOLD"`
}

// Limits bounds the resources of sessions.
type Limits struct {
	// Memory limit of one session container, without additional swap. Not below the minimum of the image profile (`512m`
	// for OpenCode).
	Memory session.Bytes `yaml:"memory" env:"CONTAINER_MEMORY_LIMIT"`
	// CPU time of one session container per period, in microseconds. `100000` of `100000` is one CPU.
	CPUQuota int64 `yaml:"cpu_quota" env:"CONTAINER_CPU_QUOTA"`
	// Length of the CPU period in microseconds, `1000` to `1000000`.
	CPUPeriod int64 `yaml:"cpu_period" env:"CONTAINER_CPU_PERIOD"`
	// Maximum number of processes and threads in one session container. An OpenCode server that reaches it aborts.
	PIDs int64 `yaml:"pids" env:"CONTAINER_PIDS_LIMIT"`
	// Most memory that a session may ask for at its creation, or a profile for its sessions. `0`: `CONTAINER_MEMORY_LIMIT`.
	MaxMemory session.Bytes `yaml:"max_memory" env:"MAX_SESSION_MEMORY"`
	// Most CPUs that a session or profile may ask for, like `2.5`. `0`: those of `CONTAINER_CPU_QUOTA`.
	MaxCPUs session.CPUs `yaml:"max_cpus" env:"MAX_SESSION_CPUS"`
	// Most processes and threads that a session or profile may ask for. `0`: `CONTAINER_PIDS_LIMIT`.
	MaxPIDs int64 `yaml:"max_pids" env:"MAX_SESSION_PIDS"`
	// Maximum number of running sessions.
	MaxSessions int `yaml:"max_sessions" env:"MAX_CONCURRENT_SESSIONS"`
	// Maximum number of sessions of one owner, stopped ones included. `0`: no limit.
	MaxPerOwner int `yaml:"max_sessions_per_owner" env:"MAX_SESSIONS_PER_OWNER"`
	// Size of a session's volumes, workspace and state together, at which Berth warns. It is measured every ten
	// `RECONCILE_INTERVAL`s, where Berth can read the engine's volumes. `0`: never.
	WorkspaceWarning session.Bytes `yaml:"workspace_warning" env:"BERTH_WORKSPACE_WARN"`
	// Size at which a running session is stopped. Not a quota: writes between two measurements are not limited. `0`: none is
	// stopped.
	WorkspaceLimit session.Bytes `yaml:"workspace_limit" env:"BERTH_WORKSPACE_LIMIT"`
	// Fraction of the host's memory in use at which Berth warns.
	MemoryWarning float64 `yaml:"memory_warning" env:"MEMORY_WARNING_THRESHOLD"`
	// Fraction of the host's CPU time in use at which Berth warns.
	CPUWarning float64 `yaml:"cpu_warning" env:"CPU_WARNING_THRESHOLD"`
	// Fraction of either in use at which no further session is started. `1`: sessions are always started.
	Critical float64 `yaml:"critical" env:"RESOURCE_CRITICAL_THRESHOLD"`
}

// Token configures the length, expiry and key of session tokens.
type Token struct {
	// Random characters of a session token. At least 22, which is 128 bits.
	Length int `yaml:"length" env:"SESSION_TOKEN_LENGTH"`
	// Hours after which a session token expires.
	ExpiryHours int `yaml:"expiry_hours" env:"SESSION_TOKEN_EXPIRY_HOURS"`
	// Interval in minutes at which the digests of expired tokens are removed from the store. Expired tokens are refused at
	// once, whether they were removed or not.
	CleanupIntervalMinutes int `yaml:"cleanup_interval_minutes" env:"TOKEN_CLEANUP_INTERVAL_MINUTES"`
	// Key for the digests of tokens and the derivation of upstream credentials, at least 32 characters. `auto`: generated
	// once and kept in the state directory, readable by its owner only, and in the database, if there is one, so that all
	// instances share it.
	Secret session.Secret `yaml:"secret" env:"SESSION_TOKEN_SECRET"`
}

// Expiry is the lifetime of a session token.
func (t Token) Expiry() time.Duration { return time.Duration(t.ExpiryHours) * time.Hour }

// OIDC configures the sign-in of people at an OpenID provider, and the tokens that it issues for the API.
type OIDC struct {
	// URL of the provider, exactly as in its tokens: `https://login.example.com/realms/staff`. `http` is for loopback hosts
	// only. Empty: there is no provider, and the other settings of this section must not be set.
	Issuer string `yaml:"issuer" env:"OIDC_ISSUER"`
	// Berth's client at the provider: a confidential one for the authorization code flow, with the redirect URL
	// `BERTH_PUBLIC_URL` + `/auth/oidc/callback`.
	ClientID string `yaml:"client_id" env:"OIDC_CLIENT_ID"`
	// Secret of that client.
	ClientSecret session.Secret `yaml:"client_secret,omitempty" env:"OIDC_CLIENT_SECRET"`
	// File with the secret, instead of `OIDC_CLIENT_SECRET`.
	ClientSecretFile string `yaml:"client_secret_file" env:"OIDC_CLIENT_SECRET_FILE"`
	// PEM file with the certificate authority of the provider's URLs, if it is a private one. Empty: those of this machine.
	CAFile string `yaml:"ca_file" env:"OIDC_CA_FILE"`
	// Audience (`aud`) that the provider's tokens must have at the API. Tokens of any client are accepted
	// then. Empty: `OIDC_CLIENT_ID`, and only tokens that were issued to that client.
	Audience string `yaml:"audience" env:"OIDC_AUDIENCE"`
	// Claim that names the owner of a person's sessions. A name with dots that is no claim of its own is a path through nested
	// objects. Providers never give the same `sub` to another person, other claims they may. With `email`, only verified
	// addresses are accepted.
	OwnerClaim string `yaml:"owner_claim" env:"OIDC_OWNER_CLAIM"`
	// Claim with the roles of a person, text or a list of texts, like `realm_access.roles`. Empty: nobody is an operator.
	RoleClaim string `yaml:"role_claim" env:"OIDC_ROLE_CLAIM"`
	// Roles that make an operator, separated by commas, in exactly these letters.
	OperatorRoles string `yaml:"operator_roles" env:"OIDC_OPERATOR_ROLES"`
}

// Proxy bounds the requests of clients.
type Proxy struct {
	// Largest request body; a larger one is answered with 413.
	MaxBodySize session.Bytes `yaml:"max_body_size" env:"PROXY_MAX_BODY_SIZE"`
	// Whether to accept `X-Forwarded-Proto` from every client. Set `TRUSTED_PROXIES` instead, which accepts it from your
	// proxy only. Without either, requests of browsers over https are taken for cross-site requests.
	TrustForwardedProto bool `yaml:"trust_forwarded_proto" env:"PROXY_TRUST_FORWARDED_PROTO"`
}

// HTTPPool configures the proxy's connection pool to session servers.
type HTTPPool struct {
	// Maximum number of idle connections for one session.
	MaxKeepaliveConnections int `yaml:"max_keepalive_connections" env:"HTTP_MAX_KEEPALIVE_CONNECTIONS"`
	// Maximum number of concurrent requests to one session; the same number of event streams and upgrades may be open in
	// addition.
	MaxConnections int `yaml:"max_connections" env:"HTTP_MAX_CONNECTIONS"`
	// How long an idle connection is kept.
	KeepaliveExpiry Seconds `yaml:"keepalive_expiry" env:"HTTP_KEEPALIVE_EXPIRY"`
	// Time-out of connecting, and of waiting for a connection when `HTTP_MAX_CONNECTIONS` is reached.
	ConnectTimeout Seconds `yaml:"connect_timeout" env:"HTTP_CONNECT_TIMEOUT"`
	// Time-out from the end of an ordinary request to the header of the response; then the client gets 504. Event streams,
	// WebSockets and the requests that the image profile lists as silent have no time-out.
	ReadTimeout Seconds `yaml:"read_timeout" env:"HTTP_READ_TIMEOUT"`
}

// Log configures the level, format and destination of logs.
type Log struct {
	// Minimum level that is logged: `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`.
	Level LogLevel `yaml:"level" env:"LOG_LEVEL"`
	// Format of the console log: `json`, `human`, or `auto` for human on a terminal and JSON otherwise. The log file is
	// always JSON.
	Format string `yaml:"format" env:"LOG_FORMAT"`
	// Whether to log to the console (standard error).
	Console bool `yaml:"console" env:"LOG_CONSOLE"`
	// Whether to log to `LOG_FILE`.
	FileEnabled bool `yaml:"file_enabled" env:"LOG_FILE_ENABLED"`
	// Log file. It is used with `LOG_FILE_ENABLED`.
	File string `yaml:"file" env:"LOG_FILE"`
	// File of the audit trail, which is used with `LOG_FILE_ENABLED` and rotated like the log file. Empty: beside `LOG_FILE`,
	// with `-audit` in its name. Requests without a valid token are recorded in a separate file beside it, with `-refusals`
	// in its name. Without log files the trail is written to the console.
	AuditFile string `yaml:"audit_file" env:"LOG_AUDIT_FILE" default:"/var/log/lovdata-chat-audit.log"`
	// Size in megabytes at which the log file is rotated.
	MaxSizeMB int `yaml:"max_size_mb" env:"LOG_MAX_SIZE_MB"`
	// Number of rotated log files that are kept.
	BackupCount int `yaml:"backup_count" env:"LOG_BACKUP_COUNT"`
}

// RefusalsFile is the file for refused requests without a valid token, beside AuditFile. It is rotated separately, so that
// refusals do not rotate records of changes out of the audit trail. Empty if AuditFile is.
func (l Log) RefusalsFile() string {
	if l.AuditFile == "" {
		return ""
	}
	ext := filepath.Ext(l.AuditFile)
	return strings.TrimSuffix(l.AuditFile, ext) + "-refusals" + ext
}

// Models configures the models that sessions have without a key of their own. Providers are under `models.providers` in the
// configuration file, see below; a key in one of the variables is enough for the large ones.
type Models struct {
	// Model of new conversations, `PROVIDER/MODEL`. Empty: that of the first provider with a key, of Anthropic, OpenAI and Google.
	Default string `yaml:"model" env:"BERTH_MODEL"`
	// Model of titles and other small work, `PROVIDER/MODEL`. Empty: a small one of the same provider.
	Small string `yaml:"small_model" env:"BERTH_SMALL_MODEL"`
	// Key of Anthropic. It defines the provider `anthropic`. It is never inside a container.
	AnthropicKey session.Secret `yaml:"-" env:"ANTHROPIC_API_KEY"`
	// Key of OpenAI. It defines the provider `openai`. It is never inside a container.
	OpenAIKey session.Secret `yaml:"-" env:"OPENAI_API_KEY"`
	// Key of Google's Gemini API. It defines the provider `google`. It is never inside a container.
	GoogleKey session.Secret `yaml:"-" env:"GEMINI_API_KEY"`

	// Providers are the providers by name.
	Providers map[string]ModelProvider `yaml:"providers,omitempty" env:"-"`
}

// Egress configures what sessions reach of the internet. Lists of hosts, and private targets, are in the configuration file only, see
// below.
type Egress struct {
	// Connections of all sessions through the gateway at the same time.
	MaxConnections int `yaml:"max_connections" env:"EGRESS_MAX_CONNECTIONS"`
	// Those of one session.
	MaxPerSession int `yaml:"max_connections_per_session" env:"EGRESS_MAX_CONNECTIONS_PER_SESSION"`
	// Time without a byte in either direction after which a connection is closed. WebSockets may be silent for hours.
	IdleTimeout Seconds `yaml:"idle_timeout" env:"EGRESS_IDLE_TIMEOUT"`

	// Lists are rules by the names of the operator's lists.
	Lists map[string][]string `yaml:"lists,omitempty" env:"-"`
	// Private are networks and ports that sessions may reach although they are not public.
	Private []string `yaml:"private,omitempty" env:"-"`
}

// Budgets configures what owners and sessions may use of models. Limits are in the configuration file only, see below.
type Budgets struct {
	// Unit of prices and of money, which is text only.
	Currency string `yaml:"currency" env:"BERTH_CURRENCY"`

	// Owner is the budget of every owner that Owners does not name.
	Owner Budget `yaml:"owner,omitempty" env:"-"`
	// Owners replaces the budget of owners, by name, as a whole.
	Owners map[string]Budget `yaml:"owners,omitempty" env:"-"`
	// Session is the budget of every session.
	Session Budget `yaml:"session,omitempty" env:"-"`
}
