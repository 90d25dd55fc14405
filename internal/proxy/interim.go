package proxy

import (
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"time"

	"berth/internal/proxy/policy"
	"berth/internal/session"
)

// Interim responses are passed on up to a burst of interimBurst and then one a second.
const interimBurst = 32

var errInterim = session.Errorf(session.CodeUpstream, "the session's server sent too many interim responses")

// watch records the connection that the transport chose for a request, and filters interim responses. It extends
// ReverseProxy's own trace, which passes the interim responses on.
func (c *call) watch(trace *httptrace.ClientTrace) {
	trace.GotConn = func(info httptrace.GotConnInfo) {
		if conn, ok := info.Conn.(*upstreamConn); ok {
			c.conn = conn
			conn.record()
		}
	}
	passOn := trace.Got1xxResponse
	var count int
	began := time.Now()
	trace.Got1xxResponse = func(status int, header textproto.MIMEHeader) error {
		if count++; count > interimBurst+int(time.Since(began)/time.Second) {
			return errInterim
		}
		if status == http.StatusContinue || !c.in.ProtoAtLeast(1, 1) {
			return nil // net/http sends 100 by itself, when the body is read; HTTP/1.0 knows no interim responses
		}
		c.entry.route.AnswerInterim(&c.request, policy.Header(header))
		return passOn(status, header)
	}
}
