// Package connection tests the connection to a Docker engine behind mutual TLS, one step after the other: name, port,
// handshake, both certificates, API, and that unauthenticated clients are refused. Each failure has a stable code, a cause and a
// remedy.
//
// It knows TLS, X.509, certificate files and five calls of the Engine API. It does not know where settings come from, nor the
// guard; it prints nothing and keeps nothing. It changes something on the engine only with Deep: it makes a container, never
// starts it, and removes it.
package connection

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"berth/internal/engineaddr"
)

// Status is the result of a step; that of the whole is the worst of them.
type Status string

// The statuses.
const (
	Pass    Status = "pass"
	Warn    Status = "warn"    // works, and should be corrected
	Fail    Status = "fail"    // does not work, or accepts unauthenticated clients
	Skipped Status = "skipped" // was not tried; the detail says why
)

// Worst returns the most severe of the statuses; without any, Skipped.
func Worst(all ...Status) Status {
	for _, s := range []Status{Fail, Warn, Pass} {
		if slices.Contains(all, s) {
			return s
		}
	}
	return Skipped
}

const (
	defaultTimeout = 10 * time.Second

	// soonDays is how many days before the end of a certificate's life a warning begins, if the life is long enough.
	soonDays = 30
)

// Options say what to test. Host is required; with the client's files missing the steps that need them fail.
type Options struct {
	Host string // tcp://host[:port]; port 2376 unless given

	CA   string // file of the authorities that may have signed the engine's certificate
	Cert string // file of the client's certificate
	Key  string // file of its private key

	CRL string // file of the authorities' revocation lists; a missing file revokes nothing

	// ServerCert is the file that the engine's certificate was installed from, if it is at hand. It is compared with the
	// one that the engine uses: dockerd reads it at its start only. A file that is not there is not compared.
	ServerCert string

	ServerName string // name that the engine's certificate must carry; empty: that of Host
	Pins       string // of public keys, as [pin.ParseList] reads them; the engine or its authority must have one; none: not checked
	Unverified bool   // the engine's certificate is not verified in regular use: the test checks it nevertheless, and warns

	Deep  bool   // make and remove a container
	Image string // image of that container; empty: any that is on the engine

	Timeout    time.Duration                                            // of each step; 0: 10 s
	Now        func() time.Time                                         // nil: time.Now
	LookupHost func(ctx context.Context, host string) ([]string, error) // nil: the system's resolver
}

// Code names a cause, for programs. Codes do not change their meaning.
type Code string

// The causes that callers distinguish; the others are defined where they are found.
const (
	NameUnknown       Code = "name-unknown"
	ResolverFailed    Code = "resolver-failed"
	ConnectionRefused Code = "connection-refused"
	ConnectionTimeout Code = "connection-timeout"
	NoRoute           Code = "no-route"
	ConnectionFailed  Code = "connection-failed"
	HandshakeTimeout  Code = "handshake-timeout"
	HandshakeClosed   Code = "handshake-closed"
	ClientRefused     Code = "client-refused"
	NoAnswer          Code = "no-answer"
	ClosedUnanswered  Code = "closed-unanswered"
	EngineAway        Code = "engine-away"
	Denied            Code = "denied"
)

// Step is one part of the test.
type Step struct {
	Name       string  `json:"name"`
	Status     Status  `json:"status"`
	Code       Code    `json:"code,omitempty"` // empty for a pass
	Detail     string  `json:"detail,omitempty"`
	Remedy     string  `json:"remedy,omitempty"` // of a warning or failure
	DurationMS float64 `json:"duration_ms"`
}

// Report is the result of the test. Unknown fields are nil or empty.
type Report struct {
	Host       string       `json:"host"`
	Status     Status       `json:"status"`            // the worst of the steps; Pass when nothing failed or was warned of
	Address    string       `json:"address,omitempty"` // that answered
	TLSVersion string       `json:"tls_version,omitempty"`
	Cipher     string       `json:"cipher,omitempty"`
	APIVersion string       `json:"api_version,omitempty"`
	Engine     string       `json:"engine,omitempty"` // its own name, such as "Docker/20.10.24 (linux)"
	Latency    Latency      `json:"latency"`
	Server     *Certificate `json:"server_certificate,omitempty"` // the one that the engine has loaded
	Authority  *Certificate `json:"authority,omitempty"`          // that signed it, or the first of the CA file
	Client     *Certificate `json:"client_certificate,omitempty"`
	Steps      []Step       `json:"steps"`
}

// Latency has the durations of the parts of a connection, in milliseconds; 0: not measured.
type Latency struct {
	ResolveMS   float64 `json:"resolve_ms"`
	ConnectMS   float64 `json:"connect_ms"`
	HandshakeMS float64 `json:"handshake_ms"`
	PingMS      float64 `json:"ping_ms"` // median of several, on a connection that exists
}

// FirstFailure returns the first step that failed, which usually causes the others.
func (r Report) FirstFailure() (Step, bool) {
	for _, s := range r.Steps {
		if s.Status == Fail {
			return s, true
		}
	}
	return Step{}, false
}

// ErrNoTLS is returned for a local socket, which has no TLS to test.
var ErrNoTLS = errors.New("a local socket has no TLS to test")

// endpoint splits Host.
func endpoint(host string) (name, port string, err error) {
	scheme, rest, _ := strings.Cut(host, "://")
	address := host
	switch scheme {
	case "unix", "npipe", "fd":
		return "", "", fmt.Errorf("engine host %s: %w", host, ErrNoTLS)
	case "https":
		address = "tcp://" + rest
	}
	engine, err := engineaddr.ParseTCP(address)
	if err != nil {
		return "", "", fmt.Errorf("engine host %q: want tcp://host:port", engineaddr.Redacted(host))
	}
	return engine.Host, cmp.Or(engine.Port, engineaddr.PortTLS), nil
}

// Run runs all steps and reports their results. Its error is an Options.Host that cannot be used (ErrNoTLS if
// it is a local socket), a negative time-out, or the end of ctx; a failed step is no error.
func Run(ctx context.Context, o Options) (Report, error) {
	name, port, err := endpoint(o.Host)
	if err != nil {
		return Report{}, err
	}
	if o.Timeout < 0 {
		return Report{}, fmt.Errorf("a time-out of %s is negative", o.Timeout)
	}
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.LookupHost == nil {
		o.LookupHost = net.DefaultResolver.LookupHost
	}
	r := &run{Options: o, host: name, port: port, name: cmp.Or(o.ServerName, name), failed: map[string]bool{}}
	r.report.Host, r.report.Status = engineaddr.ForTCP(name, port), Pass
	r.all(ctx)
	if err := ctx.Err(); err != nil {
		return r.report, context.Cause(ctx)
	}
	return r.report, nil
}
