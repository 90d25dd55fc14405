package connection

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Names of the steps, in the order in which they are tried.
const (
	stepResolve       = "resolve"
	stepConnect       = "connect"
	stepHandshake     = "handshake"
	stepAuthority     = "authority"
	stepServerChain   = "server-chain"
	stepServerName    = "server-name"
	stepServerUsage   = "server-usage"
	stepServerDates   = "server-dates"
	stepServerFile    = "server-file"
	stepServerPin     = "server-pin"
	stepClientFile    = "client-certificate"
	stepClientKey     = "client-key"
	stepClientMode    = "client-key-permissions"
	stepClientChain   = "client-chain"
	stepClientUsage   = "client-usage"
	stepClientDates   = "client-dates"
	stepRevocation    = "revocation"
	stepAuthenticate  = "authenticate"
	stepNegotiate     = "negotiate"
	stepPing          = "ping"
	stepList          = "list"
	stepCreate        = "create"
	stepRemove        = "remove"
	stepNoCertificate = "no-certificate-refused"
	stepForeign       = "foreign-certificate-refused"
)

// run is one test of one engine.
type run struct {
	Options
	host, port, name string

	report Report
	failed map[string]bool // steps

	addresses []string
	address   string
	server    []*x509.Certificate // as the engine presented it, the leaf first; empty without a handshake
	version   uint16              // of TLS, as the last handshake had it; 0: none came so far
	verified  []*x509.Certificate // its chain
	own       material
	first     answer
	container string
	client    *http.Client
	probe     string // ALPN protocol by which berth guard knows that a refused connection belongs to this test; "": none
}

func pass(format string, args ...any) Step {
	return Step{Status: Pass, Detail: fmt.Sprintf(format, args...)}
}

func warn(code Code, remedy, format string, args ...any) Step {
	return Step{Status: Warn, Code: code, Remedy: remedy, Detail: fmt.Sprintf(format, args...)}
}

func fail(code Code, remedy, format string, args ...any) Step {
	return Step{Status: Fail, Code: code, Remedy: remedy, Detail: fmt.Sprintf(format, args...)}
}

func skip(code Code, format string, args ...any) Step {
	return Step{Status: Skipped, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Codes of skipped steps.
const (
	earlierFailure Code = "earlier-failure"
	notAskedFor    Code = "not-asked-for"
	notAtHand      Code = "not-at-hand"
	notProven      Code = "not-proven"
)

// step runs one step unless a step that it depends on has failed, and reports it.
func (r *run) step(ctx context.Context, name string, do func(context.Context) Step, needs ...string) {
	if ctx.Err() != nil {
		return
	}
	for _, need := range needs {
		if r.failed[need] {
			r.note(name, skip(earlierFailure, "needs the step %q", need))
			r.failed[name] = true
			return
		}
	}
	stepContext, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	begin := time.Now()
	got := do(stepContext)
	if ctx.Err() != nil {
		return
	}
	got.DurationMS = milliseconds(time.Since(begin))
	r.note(name, got)
	r.failed[name] = got.Status == Fail
}

func (r *run) note(name string, s Step) {
	s.Name, s.Detail = name, strings.ToValidUTF8(s.Detail, "?")
	r.report.Steps = append(r.report.Steps, s)
	r.report.Status = Worst(r.report.Status, s.Status)
}

// all runs all steps, in an order in which the first failure causes the later ones.
func (r *run) all(ctx context.Context) {
	// The files are read before the handshake, which needs them; their steps come after it.
	r.own = readMaterial(r.Options)

	r.step(ctx, stepResolve, r.resolve)
	r.step(ctx, stepConnect, r.connect, stepResolve)
	r.step(ctx, stepHandshake, r.handshake, stepConnect)

	r.step(ctx, stepAuthority, r.authority)
	r.serverSteps(ctx)
	r.clientSteps(ctx)
	r.step(ctx, stepRevocation, r.revocation, stepAuthority)
	r.apiSteps(ctx)

	r.step(ctx, stepNoCertificate, r.noCertificate, stepHandshake)
	r.step(ctx, stepForeign, r.foreignCertificate, stepHandshake)
}

func (r *run) serverSteps(ctx context.Context) {
	var needs []string
	if len(r.server) == 0 { // a failed handshake may have shown the certificate too
		needs = append(needs, stepHandshake)
	}
	r.step(ctx, stepServerChain, r.serverChain, append(needs, stepAuthority)...)
	r.step(ctx, stepServerName, r.serverName, needs...)
	r.step(ctx, stepServerUsage, r.serverUsage, needs...)
	r.step(ctx, stepServerDates, r.serverDates, needs...)
	r.step(ctx, stepServerFile, r.serverFile, needs...)
	r.step(ctx, stepServerPin, r.serverPin, needs...)
}

func (r *run) clientSteps(ctx context.Context) {
	r.step(ctx, stepClientFile, r.clientFile)
	r.step(ctx, stepClientKey, r.clientKey)
	r.step(ctx, stepClientMode, r.clientMode)
	r.step(ctx, stepClientChain, r.clientChain, stepClientFile, stepAuthority)
	r.step(ctx, stepClientUsage, r.clientUsage, stepClientFile)
	r.step(ctx, stepClientDates, r.clientDates, stepClientFile)
}

func (r *run) apiSteps(ctx context.Context) {
	// An unverified engine gets no requests. A faulty client certificate does not prevent them: the engine may accept it.
	needs := []string{
		stepHandshake, stepServerChain, stepServerName, stepServerUsage, stepServerDates, stepServerPin, stepClientFile, stepClientKey,
		stepRevocation,
	}
	r.step(ctx, stepAuthenticate, r.authenticate, needs...)
	r.step(ctx, stepNegotiate, r.negotiate, stepAuthenticate)
	if !r.failed[stepNegotiate] {
		r.client = r.httpClient()
		defer r.client.CloseIdleConnections()
		r.announce(ctx)
	}
	r.step(ctx, stepPing, r.ping, stepNegotiate)
	r.step(ctx, stepList, r.list, stepNegotiate)
	r.step(ctx, stepCreate, r.create, stepNegotiate)
	if r.container != "" {
		// A canceled test still removes its container.
		r.step(context.WithoutCancel(ctx), stepRemove, r.remove)
	}
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
