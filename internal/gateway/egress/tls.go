package egress

import (
	"context"
	"errors"
	"net"
	"time"

	"berth/internal/session"
)

// ServeTLS serves connections to port 443 that sessions make because the name was resolved to the gateway, until ctx ends or the listener
// fails. It closes the listener, and returns when all connections have ended. The error is nil at the end of ctx.
func (r *Relay) ServeTLS(ctx context.Context, l net.Listener) error {
	return r.accept(ctx, l, func(ctx context.Context, conn net.Conn, caller session.Caller) {
		st, v := r.admit(ctx, caller)
		if !v.Allowed {
			r.refuse(ctx, caller, v)
			return
		}
		defer st.release()
		defer st.closes(conn)()
		r.relayTLS(st, &buffered{Conn: conn}, Target{}, nil)
	})
}

// relayTLS carries a TLS connection to where its ClientHello goes. With a want, that must be its name; target is then the connection
// to it, and else it is dialled here. It is closed in any case.
//
// Encrypted server names (ECH) are refused: the name that can be seen would be judged, and the host behind it could pass the connection
// on to any other of its own. Clients that send the extension without using it cannot be told from those that do.
func (r *Relay) relayTLS(st *stream, client *buffered, want Target, target net.Conn) {
	if target != nil {
		defer target.Close()
	}
	name, raw, v, description := r.judgeHello(client, want)
	t := Target{Name: name, Port: 443}
	if v.Allowed {
		if v = r.policy.Load().Judge(st.caller, t); !v.Allowed {
			description = alertAccess
		}
	}
	if !v.Allowed {
		if v.Reason != "" {
			r.refuse(st.ctx, st.caller, v)
		}
		sendAlert(st.ctx, client.Conn, description)
		return
	}
	st.to(t)
	if target == nil {
		var err error
		if target, err = r.dial(st, t); err != nil {
			description = alertInternal
			if refused, ok := errors.AsType[*RefusedError](err); ok {
				r.refuse(st.ctx, st.caller, refused.Verdict)
				description = alertAccess
			}
			sendAlert(st.ctx, client.Conn, description)
			return
		}
		defer target.Close()
	}
	r.carry(st, client, target, raw)
}

// judgeHello reads a ClientHello and returns its name, all bytes that were read, and whether its form is allowed, else with the number of
// the alert. A verdict without a reason is a client that has sent nothing or has gone.
func (r *Relay) judgeHello(client *buffered, want Target) (name string, raw []byte, v Verdict, description byte) {
	if client.SetReadDeadline(time.Now().Add(handshakeTimeout)) != nil {
		return "", nil, Verdict{}, alertInternal
	}
	raw, message, err := readHello(client)
	if len(raw) == 0 && err != nil {
		return "", nil, Verdict{}, alertHandshake
	}
	to := "port 443"
	if want.Name != "" {
		to = want.String()
	}
	if err != nil {
		return "", nil, refusal(ReasonNotTLS, "a connection to %s was refused: %v; only TLS is carried there", to, err), alertDecode
	}
	h, err := parseHello(message)
	switch {
	case err != nil:
		return "", nil, refusal(ReasonNotTLS, "a connection to %s was refused: %v; only TLS is carried there", to, err), alertDecode
	case h.ech:
		return "", nil, refusal(ReasonECH, "a TLS connection to %s (%s) was refused: its server name is encrypted (ECH), so that it cannot be judged; switch ECH off in the client", to, quote(h.name)), alertAccess
	case h.name == "":
		return "", nil, refusal(ReasonNoSNI, "a TLS connection to %s was refused: it names no server (SNI); connect by a host name that is on the session's list", to), alertName
	}
	name, err = parseName(h.name)
	if err != nil {
		return "", nil, refusal(ReasonNoSNI, "a TLS connection to %s was refused: its server name %s %v", to, quote(h.name), err), alertName
	}
	if want.Name != "" && name != want.Name {
		return "", nil, refusal(ReasonSNIMismatch, "a TLS connection to %s was refused: its server name is %s; they must be the same", to, name), alertAccess
	}
	return name, raw, Verdict{Allowed: true}, 0
}

// dial connects a stream to its target.
func (r *Relay) dial(st *stream, t Target) (net.Conn, error) {
	target, err := r.dialer.Dial(st.ctx, r.policy.Load(), t)
	if err != nil {
		if _, refused := errors.AsType[*RefusedError](err); !refused {
			r.stats.failures.Add(1)
			r.opts.Log.DebugContext(st.ctx, "allowed host not reached", "session", string(st.caller.Session), "host", t.String(), "error", err)
		}
	}
	return target, err
}

// sendAlert ends a TLS connection in a way that its client can report.
func sendAlert(ctx context.Context, conn net.Conn, description byte) {
	if conn.SetWriteDeadline(time.Now().Add(drainTimeout)) != nil {
		return
	}
	if _, err := conn.Write(alert(description)); err != nil {
		return
	}
	closeWrite(conn)
	drain(ctx, conn)
}
