package guard

import (
	"container/list"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// ClientsPath answers with the client certificates of open connections, as [Clients], without the connection that asks. The
// engine has no such route. Before an authority is retired one must know that no client needs it any more.
const ClientsPath = "/_berth/clients"

// sweepInterval is how often the clients of open connections are checked again.
const sweepInterval = 200 * time.Millisecond

// errCut is the cause when requests end because their client is not admitted any more.
var errCut = errors.New("the client is not admitted any more")

// Clients is the answer at [ClientsPath], ordered by subject and serial number.
type Clients struct {
	Clients []Client `json:"clients"`
}

// Client is one certificate of open connections.
type Client struct {
	Subject           string `json:"subject"`
	Serial            string `json:"serial"` // hexadecimal
	FingerprintSHA256 string `json:"fingerprint_sha256"`
	AuthorityKeyID    string `json:"authority_key_id"` // hexadecimal
	Connections       int    `json:"connections"`
}

// connection is an accepted connection, taken over or not.
type connection struct {
	raw       net.Conn // under TLS: closing it sends no close_notify, and so never waits
	cancel    context.CancelCauseFunc
	presented []*x509.Certificate // nil before the first request
	waiting   *list.Element       // its place in pending; nil: it is not there
}

type connectionKey struct{}

// connections are all open connections.
type connections struct {
	mu      sync.Mutex
	open    map[net.Conn]*connection
	pending pending
}

// newConnections keeps at most so many without a request.
func newConnections(maxPending int) *connections {
	return &connections{open: map[net.Conn]*connection{}, pending: pending{most: maxPending}}
}

// accepted is [http.Server.ConnContext].
func (c *connections) accepted(ctx context.Context, conn net.Conn) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	one := &connection{raw: conn, cancel: cancel}
	if secured, ok := conn.(*tls.Conn); ok {
		one.raw = secured.NetConn()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[conn] = one
	if oldest := c.pending.add(one); oldest != nil {
		oldest.raw.Close()
	}
	return context.WithValue(ctx, connectionKey{}, conn)
}

// changed is [http.Server.ConnState]. A connection that was taken over is open until its handler has ended.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	if state == http.StateClosed {
		c.forget(conn)
	}
}

func (c *connections) forget(conn net.Conn) {
	c.mu.Lock()
	one := c.open[conn]
	delete(c.open, conn)
	if one != nil {
		c.pending.remove(one)
	}
	c.mu.Unlock()
	if one != nil {
		one.cancel(nil)
	}
}

// identify records the certificates of a request's client, and returns what to call when a handler that took the connection
// over has ended.
func (c *connections) identify(r *http.Request) (ended func()) {
	conn, ok := r.Context().Value(connectionKey{}).(net.Conn)
	if !ok {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if one := c.open[conn]; one != nil && one.presented == nil {
		one.presented = r.TLS.PeerCertificates
		c.pending.remove(one)
	}
	return func() { c.forget(conn) }
}

// identified are the connections with a known client.
func (c *connections) identified() map[net.Conn]*connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := make(map[net.Conn]*connection, len(c.open))
	for conn, one := range c.open {
		if one.presented != nil {
			known[conn] = one
		}
	}
	return known
}

// sweep closes open connections of clients that are not admitted any more, until ctx ends: a taken-over connection or a long
// answer has no further request that could be refused.
func (h *handler) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for conn, one := range h.connections.identified() {
			err := h.admits(one.presented)
			if err == nil {
				continue
			}
			one.cancel(errCut)
			one.raw.Close()
			h.connections.forget(conn)
			client := one.presented[0]
			h.logger.WarnContext(ctx, "client connection cut", "client", client.Subject.CommonName,
				"serial", client.SerialNumber.Text(16), "remote", conn.RemoteAddr().String(), "reason", err.Error())
		}
	}
}

// admits says why a client with these certificates is not admitted any more; nil if it is.
func (h *handler) admits(presented []*x509.Certificate) error {
	if h.options.Now().After(presented[0].NotAfter) {
		return errExpired
	}
	if h.options.Admits == nil {
		return nil
	}
	return h.options.Admits(presented)
}

var errExpired = errors.New("it has expired")

// serveClients answers ClientsPath. The connection that asks does not count: it is there only to ask.
func (h *handler) serveClients(w http.ResponseWriter, r *http.Request) {
	counted := map[[sha256.Size]byte]*Client{}
	for conn, one := range h.connections.identified() {
		if conn == r.Context().Value(connectionKey{}) {
			continue
		}
		cert := one.presented[0]
		sum := sha256.Sum256(cert.Raw)
		if counted[sum] == nil {
			counted[sum] = &Client{
				Subject: cert.Subject.String(), Serial: cert.SerialNumber.Text(16),
				FingerprintSHA256: hex.EncodeToString(sum[:]), AuthorityKeyID: hex.EncodeToString(cert.AuthorityKeyId),
			}
		}
		counted[sum].Connections++
	}
	answer := Clients{Clients: make([]Client, 0, len(counted))}
	for _, client := range counted {
		answer.Clients = append(answer.Clients, *client)
	}
	slices.SortFunc(answer.Clients, func(a, b Client) int {
		return strings.Compare(a.Subject+"\n"+a.Serial, b.Subject+"\n"+b.Serial)
	})
	writeJSON(w, http.StatusOK, answer)
}
