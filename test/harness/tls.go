package harness

import (
	"context"
	"net"
	"net/http"

	"berth/internal/tlstest"
)

// ServeTLS has serve speak TLS under names that the test's own requests take to this machine: its own, and one for each session
// below a domain. The certificates are of an authority that only the test trusts.
func (w *Env) ServeTLS(name, domain string) *tlstest.Authority {
	w.t.Helper()
	authority := tlstest.New(w.t)
	w.Vars["BERTH_TLS_CERT"], w.Vars["BERTH_TLS_KEY"] = authority.Files(w.t, name, "*."+domain)
	_, port, err := net.SplitHostPort(w.Vars["BERTH_LISTEN"])
	Must(w.t, err)
	w.URL = "https://" + net.JoinHostPort(name, port)
	w.Vars["BERTH_PUBLIC_URL"], w.Vars["SESSION_DOMAIN"] = w.URL, domain
	transport := &http.Transport{TLSClientConfig: authority.Client(""), ForceAttemptHTTP2: true, DialContext: ToThisMachine}
	w.t.Cleanup(transport.CloseIdleConnections)
	w.Client = &http.Client{Transport: transport}
	return authority
}

// ToThisMachine dials the port of an address on this machine, whatever its name is.
func ToThisMachine(ctx context.Context, network, address string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
}
