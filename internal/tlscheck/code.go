package tlscheck

import (
	"maps"
	"slices"
)

// Code names a cause, for programs. Codes do not change their meaning.
type Code string

// The causes.
const (
	NameUnknown       Code = "name-unknown"
	ResolverFailed    Code = "resolver-failed"
	ConnectionRefused Code = "connection-refused"
	ConnectionTimeout Code = "connection-timeout"
	NoRoute           Code = "no-route"
	ConnectionFailed  Code = "connection-failed"

	NotTLS           Code = "not-tls"
	TLSTooOld        Code = "tls-too-old"
	HandshakeTimeout Code = "handshake-timeout"
	HandshakeRefused Code = "handshake-refused"
	HandshakeClosed  Code = "handshake-closed"

	CAMissing      Code = "ca-missing"
	CAUnreadable   Code = "ca-unreadable"
	CAMalformed    Code = "ca-malformed"
	CAExpired      Code = "ca-expired"
	NotAnAuthority Code = "ca-is-no-authority"

	ServerUnknownAuthority Code = "server-of-another-authority"
	ServerInvalid          Code = "server-certificate-invalid"
	ServerNameMismatch     Code = "server-name-mismatch"
	ServerWrongUsage       Code = "server-wrong-usage"
	ServerAlsoClient       Code = "server-usable-as-client"
	ServerExpired          Code = "server-expired"
	ServerNotYetValid      Code = "server-not-yet-valid"
	ServerExpiresSoon      Code = "server-expires-soon"
	ServerFileDiffers      Code = "server-file-not-loaded"
	PinMismatch            Code = "pin-mismatch"
	PinMalformed           Code = "pin-malformed"
	Unverified             Code = "server-unverified"

	ClientMissing        Code = "client-missing"
	ClientUnreadable     Code = "client-unreadable"
	ClientMalformed      Code = "client-malformed"
	KeyMissing           Code = "key-missing"
	KeyUnreadable        Code = "key-unreadable"
	KeyMalformed         Code = "key-malformed"
	KeyMismatch          Code = "key-mismatch"
	KeyOpenToOthers      Code = "key-open-to-others"
	ClientOtherAuthority Code = "client-of-another-authority"
	ClientWrongUsage     Code = "client-wrong-usage"
	ClientExpired        Code = "client-expired"
	ClientNotYetValid    Code = "client-not-yet-valid"
	ClientExpiresSoon    Code = "client-expires-soon"

	CRLUnusable   Code = "crl-unusable"
	CRLOutdated   Code = "crl-outdated"
	ServerRevoked Code = "server-revoked"
	ClientRevoked Code = "client-revoked"

	ClientRefused    Code = "client-refused"
	NoAnswer         Code = "no-answer"
	ClosedUnanswered Code = "closed-unanswered"
	NotAnEngine      Code = "not-an-engine"
	EngineTooOld     Code = "engine-too-old"
	EngineAway       Code = "engine-away"
	EngineError      Code = "engine-error"
	Denied           Code = "denied"
	ImageMissing     Code = "image-missing"
	RemoveFailed     Code = "remove-failed"

	OpenToAnyone    Code = "open-to-anyone"
	ForeignAccepted Code = "foreign-certificate-accepted"
	RefusedLate     Code = "refused-late"

	// The codes of steps that were skipped.
	EarlierFailure Code = "earlier-failure"
	NotAskedFor    Code = "not-asked-for"
	NotAtHand      Code = "not-at-hand"
	NotProven      Code = "not-proven"
	NoImage        Code = "no-image"
)

const (
	adviceClock  = "set the clock of this machine and of the engine's right (timedatectl set-ntp true)"
	adviceFiles  = "put the client's ca.pem, client-cert.pem and client-key.pem into DOCKER_CERT_PATH; \"berth certs init\" makes a new set"
	adviceReload = "berth guard takes it by itself; dockerd cannot read it again and must be restarted: systemctl restart docker " +
		"(with live-restore, sessions go on)"
	adviceReissue = "issue a new one from the same authority (berth certs renew), install it beside the engine; " + adviceReload
	adviceOpen    = "set \"tlsverify\": true and \"tlscacert\" in /etc/docker/daemon.json and restart dockerd, or close the port and use berth guard; " +
		"until then whoever reaches {host}:{port} is root there"
)

// remedies says what to do, by code of a warning or failure. Names in braces are those of the test.
var remedies = map[Code]string{
	NameUnknown:    "correct DOCKER_HOST, or make {host} known (DNS, /etc/hosts; in a container: extra_hosts: [\"{host}:host-gateway\"])",
	ResolverFailed: "see whether this machine's name server answers (/etc/resolv.conf), or give DOCKER_HOST an address",
	ConnectionRefused: "start what should listen there: berth guard, or dockerd with TLS (systemctl status docker); see that DOCKER_HOST has the right host " +
		"and port, and that it listens on the address that you connect to, not on 127.0.0.1 only",
	ConnectionTimeout: "let the firewalls between here and {host} pass TCP port {port} from this machine; see that {host} is up",
	NoRoute:           "correct DOCKER_HOST or this machine's routes (ip route get {host})",
	ConnectionFailed:  "see that DOCKER_HOST names a host and port that can be connected to",

	NotTLS: "point DOCKER_HOST to the engine's TLS port (2376 by custom). If this is the engine, its port is open without any " +
		"authentication: take tcp:// out of its hosts, or start it with --tlsverify",
	TLSTooOld:        "put berth guard in front of the engine, or upgrade what ends TLS there",
	HandshakeTimeout: "see that port {port} is the engine's, and that nothing in between (proxy, load balancer) holds the connection",
	HandshakeRefused: "see the log of what listens there (journalctl -u docker, or berth guard's) for the reason",
	HandshakeClosed:  "see that port {port} is the engine's TLS port, and the log of what listens there (journalctl -u docker, or berth guard's)",

	CAMissing:      adviceFiles,
	CAUnreadable:   "let this user read {ca} (chmod 444 {ca}, and the way to it)",
	CAMalformed:    "replace {ca} by the PEM of the authority that signed the engine's certificate",
	CAExpired:      "make a new authority and new certificates (berth certs init --force), and install them on both ends",
	NotAnAuthority: "put the authority's certificate into {ca}; a server's or client's own certificate is none",

	ServerUnknownAuthority: "set DOCKER_CA_CERT to the authority that signed the engine's certificate, or install a server certificate of your authority " +
		"beside the engine and restart it",
	ServerInvalid:      "issue a new server certificate (berth certs issue --kind server), install it beside the engine and restart it",
	ServerNameMismatch: "use a name from the certificate in DOCKER_HOST, or issue one for {name} (berth certs issue --kind server --host {name} --out DIR) and install it beside the engine",
	ServerWrongUsage:   "install server-cert.pem beside the engine, not the client's certificate; it needs the usage \"TLS server\"",
	ServerAlsoClient:   "issue separate certificates for server and client (berth certs init does)",
	ServerExpired:      adviceReissue,
	ServerNotYetValid:  adviceClock,
	ServerExpiresSoon:  adviceReissue,
	ServerFileDiffers:  adviceReload,
	PinMismatch: "if the engine's key was changed on purpose, add its pin to DOCKER_TLS_PIN; if not, somebody else answers in the " +
		"engine's place: do not connect",
	PinMalformed: "write pins as 64 hexadecimal digits or as base64",
	Unverified:   "set DOCKER_TLS_VERIFY=1",

	ClientMissing:    adviceFiles,
	ClientUnreadable: "let this user read {cert} (chmod 444 {cert}, and the way to it)",
	ClientMalformed:  "replace {cert} by the PEM of the client's certificate",
	KeyMissing:       adviceFiles,
	KeyUnreadable:    "run as the owner of {key}, or give it to the user who runs Berth (chown); keep its mode at 0400",
	KeyMalformed:     "replace {key} by the PEM of the client's private key, without a passphrase",
	KeyMismatch:      "put certificate and key of one pair side by side; berth certs list shows what is there",
	KeyOpenToOthers:  "chmod 400 {key}; if others may have read it, replace the pair: it is as good as root on the engine's host",
	ClientOtherAuthority: "see that the engine trusts that authority for its clients (tlscacert, or the guard's ca.pem), or issue a client certificate " +
		"of the same authority",
	ClientWrongUsage:  "use client-cert.pem, not the server's certificate; it needs the usage \"TLS client\"",
	ClientExpired:     "issue a new client certificate from the same authority (berth certs renew)",
	ClientNotYetValid: adviceClock,
	ClientExpiresSoon: "issue a new client certificate from the same authority (berth certs renew)",

	CRLUnusable:   "replace {crl} by the revocation list of the authority in {ca}, in PEM",
	CRLOutdated:   "have the authority write a new list (berth certs revoke does), and bring it here",
	ServerRevoked: "do not connect: whoever answers has a key that was given up. Install a new server certificate beside the engine, and restart dockerd",
	ClientRevoked: "issue a new client certificate (berth certs issue), and find out why this one was revoked",

	ClientRefused: "use a client certificate that is valid and that the engine's own authority signed: its tlscacert, or the guard's ca.pem; " +
		"the log there (journalctl -u docker, or berth guard's) has the reason",
	NoAnswer:         "see whether the engine is overloaded or hangs (journalctl -u docker); --timeout waits longer than {timeout}",
	ClosedUnanswered: "see that the engine behind {host}:{port} runs, and the log of what ends TLS there",
	NotAnEngine:      "point DOCKER_HOST to a Docker engine or to berth guard",
	EngineTooOld:     "upgrade the engine to Docker 20.10 or newer",
	EngineAway:       "start the engine behind it (systemctl start docker), and see that berth guard has the right --socket",
	EngineError:      "see the engine's log (journalctl -u docker)",
	Denied: "let the authorization plugin of the engine (authorization-plugins in daemon.json), or the proxy in front of it, allow the " +
		"client of this certificate what Berth needs",
	ImageMissing: "pull or build the image {image} on the engine, or name another with --image",
	RemoveFailed: "remove it by hand: docker rm -f {container}",

	OpenToAnyone:    adviceOpen,
	ForeignAccepted: adviceOpen,
	RefusedLate:     "demand the client's certificate in the handshake (tlsverify), so that strangers do not reach any HTTP server",
}

// Codes lists the codes of warnings and failures, sorted.
func Codes() []Code { return slices.Sorted(maps.Keys(remedies)) }

// Remedy is what to do about a code, with names in braces where a test has its own; "" for codes of skipped steps.
func Remedy(c Code) string { return remedies[c] }
