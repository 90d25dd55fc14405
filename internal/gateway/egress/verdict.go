package egress

import (
	"fmt"
	"net/http"
)

// Reason is why a connection is refused: a closed set, for metrics and the audit trail.
type Reason string

// The reasons.
const (
	ReasonMode          Reason = "egress-none"    // the session reaches nothing
	ReasonNotListed     Reason = "not-listed"     // name and port are not on the session's list
	ReasonName          Reason = "bad-name"       // what should be a host name or host:port is none
	ReasonAddress       Reason = "address"        // the name has only addresses that sessions do not reach
	ReasonNotTLS        Reason = "not-tls"        // no TLS handshake on port 443
	ReasonNoSNI         Reason = "no-sni"         // a TLS handshake without exactly one server name
	ReasonECH           Reason = "ech"            // a TLS handshake with an encrypted server name
	ReasonSNIMismatch   Reason = "sni-mismatch"   // the server name differs from the target of the CONNECT
	ReasonRequest       Reason = "bad-request"    // a plain HTTP request that can be read in two ways, or is not for this way
	ReasonLimit         Reason = "limit"          // too many connections or queries
	ReasonUnknownCaller Reason = "unknown-caller" // the address is not that of a session's container
)

// reasons are all of them, in the order of the counters.
var reasons = []Reason{
	ReasonMode, ReasonNotListed, ReasonName, ReasonAddress, ReasonNotTLS, ReasonNoSNI, ReasonECH, ReasonSNIMismatch, ReasonRequest,
	ReasonLimit, ReasonUnknownCaller,
}

// Verdict is the answer to whether a session may reach a target.
type Verdict struct {
	Allowed  bool
	Rule     string // of an allowed one: the rule that allows it; with egress open "open"
	Reason   Reason // of a refused one
	Sentence string // of a refused one: what is refused, by which rule, and the remedy; for the agent in the session
}

func refusal(reason Reason, format string, args ...any) Verdict {
	return Verdict{Reason: reason, Sentence: fmt.Sprintf(format, args...)}
}

// status is the HTTP status of a refusal.
func (v Verdict) status() int {
	switch v.Reason {
	case ReasonRequest, ReasonName:
		return http.StatusBadRequest
	case ReasonLimit:
		return http.StatusTooManyRequests
	default:
		return http.StatusForbidden
	}
}

// RefusedError is a refusal as an error.
type RefusedError struct{ Verdict Verdict }

// Error is the sentence.
func (e *RefusedError) Error() string { return e.Verdict.Sentence }
