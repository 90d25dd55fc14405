package egress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"berth/internal/session"
)

// Connect answers a CONNECT request of a session whose address and token were checked. What goes to port 443 must be TLS for the name
// that was asked for, and what goes to port 80 requests of plain HTTP for it; other ports of the list carry any bytes. An address is reached only as a private target that the operator
// allows. A session with egress open needs no proxy; it is served by the same rules for addresses.
func (r *Relay) Connect(w http.ResponseWriter, req *http.Request, caller session.Caller) {
	st, t, ok := r.admitRequest(w, req, caller, func() (Target, error) { return ParseTarget(req.RequestURI) })
	if !ok {
		return
	}
	defer st.release()
	if t.Port == 80 && t.Name != "" {
		if client, ok := r.establish(w, st); ok {
			r.servePlain(st, client, t)
		}
		return
	}
	target, err := r.dial(st, t)
	if err != nil {
		r.dialFailed(w, st, t, err)
		return
	}
	defer target.Close()
	client, ok := r.establish(w, st)
	if !ok {
		return
	}
	defer client.Close()
	defer st.closes(client)()
	if t.Port == 443 && t.Name != "" {
		r.relayTLS(st, client, t, target)
		return
	}
	r.carry(st, client, target, nil)
}

// establish answers a CONNECT that was accepted, and takes its connection over.
func (r *Relay) establish(w http.ResponseWriter, st *stream) (*buffered, bool) {
	client, err := hijack(w)
	if err != nil {
		r.opts.Log.ErrorContext(st.ctx, "CONNECT not served", "error", err)
		http.Error(w, "this connection cannot be used for CONNECT; use HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return nil, false
	}
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		client.Close()
		return nil, false
	}
	return client, true
}

// carry writes the first bytes of a client to its target, which were read already, and then copies.
func (r *Relay) carry(st *stream, client *buffered, target net.Conn, first []byte) {
	defer st.closes(target)()
	first = append(first, client.rest()...)
	n, err := target.Write(first)
	r.stats.sent.Add(uint64(n))
	if err != nil {
		r.stats.failures.Add(1)
		return
	}
	r.splice(st, client.Conn, target)
}

// admitRequest judges a request for a target and opens its stream. It has answered the request if it reports false.
func (r *Relay) admitRequest(w http.ResponseWriter, req *http.Request, caller session.Caller, target func() (Target, error)) (*stream, Target, bool) {
	deny := func(v Verdict) (*stream, Target, bool) {
		r.refuse(req.Context(), caller, v)
		http.Error(w, v.Sentence, v.status())
		return nil, Target{}, false
	}
	t, err := target()
	if err != nil {
		return deny(refusal(ReasonName, "the request was refused: %v", err))
	}
	if v := r.policy.Load().Judge(caller, t); !v.Allowed {
		return deny(v)
	}
	// A hijacked connection outlives the context of its request.
	st, v := r.admit(context.WithoutCancel(req.Context()), caller)
	if !v.Allowed {
		return deny(v)
	}
	st.to(t)
	return st, t, true
}

// dialFailed answers a request whose target was not reached.
func (r *Relay) dialFailed(w http.ResponseWriter, st *stream, t Target, err error) {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		r.refuse(st.ctx, st.caller, refused.Verdict)
		http.Error(w, refused.Verdict.Sentence, refused.Verdict.status())
		return
	}
	http.Error(w, fmt.Sprintf("%s is allowed and was not reached: %s", t, cause(err)), http.StatusBadGateway)
}

// cause says in words why a target was not reached, without addresses.
func cause(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "the name does not exist"
		}
		return "the name could not be resolved"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "it did not answer in time"
	}
	return "the connection was refused or failed"
}

// buffered is a connection of which some bytes were read already.
type buffered struct {
	net.Conn
	first *bufio.Reader // holds them; nil: there are none
}

// Read implements [net.Conn].
func (b *buffered) Read(p []byte) (int, error) {
	if b.first != nil && b.first.Buffered() > 0 {
		return b.first.Read(p[:min(len(p), b.first.Buffered())])
	}
	return b.Conn.Read(p)
}

// rest returns the bytes that were read already and that Read has not returned.
func (b *buffered) rest() []byte {
	if b.first == nil {
		return nil
	}
	rest, err := b.first.Peek(b.first.Buffered())
	if err != nil {
		return nil // not for bytes that are buffered
	}
	return rest
}

// hijack takes the connection of a request over, with what its client has sent after the request.
func hijack(w http.ResponseWriter) (*buffered, error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return nil, err
	}
	return &buffered{Conn: conn, first: rw.Reader}, nil
}
