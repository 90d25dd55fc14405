package bench_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/origin"
	"berth/internal/proxy"
	"berth/internal/session"
)

// BenchmarkProxy compares small responses through Berth's proxy, with token, credential and pool, by path and by the session's own
// host, with direct requests and with a minimal proxy that opens a connection for each request, as the previous service did. Each
// iteration does a round on every side, in alternating order.
//
//	go test -run '^$' -bench Proxy -benchtime 20x ./bench
func BenchmarkProxy(b *testing.B) {
	const calls = 2000
	answer := make([]byte, 200)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) }))
	defer server.Close()

	keys, err := access.NewKeys([]byte("a secret of more than sixteen bytes"))
	must(b, err)
	token := access.NewToken(32)
	table := proxy.NewTable()
	defer table.Close()
	table.Set(session.Route{
		ID: "ses-bench", Address: server.Listener.Addr().String(), Username: "opencode", Credential: "password",
		Token: session.Token{Digest: keys.Digest(token)}, Running: true,
	})
	authority, err := access.New(access.Options{Keys: keys})
	must(b, err)
	pooled := httptest.NewUnstartedServer(nil)
	address := pooled.Listener.Addr().(*net.TCPAddr)
	origins := origin.New(origin.Options{Listen: uint16(address.Port), Loopback: true})
	p, err := proxy.New(proxy.Options{Table: table, Access: authority, Origins: origins, Logger: slog.New(slog.DiscardHandler)})
	must(b, err)
	pooled.Config.Handler = p.Before(p)
	pooled.Start()
	defer pooled.Close()

	target, err := url.Parse(server.URL)
	must(b, err)
	unpooled := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{DisableKeepAlives: true},
	})
	defer unpooled.Close()

	client := &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: callers,
		DialContext: func(ctx context.Context, network, at string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, strings.Replace(at, "ses-bench.localhost", "127.0.0.1", 1))
		},
	}}
	defer client.CloseIdleConnections()
	addresses := map[string]string{
		"direct": server.URL + "/x", "berth": pooled.URL + "/s/ses-bench/x", "unpooled": unpooled.URL + "/x",
		"host": fmt.Sprintf("http://ses-bench.localhost:%d/x", address.Port),
	}
	taken := map[string][]time.Duration{}
	order := []string{"direct", "berth", "host", "unpooled"}
	for b.Loop() {
		for _, side := range order {
			taken[side] = append(taken[side], spread(b, calls, func(ctx context.Context, _ int) error {
				return fetch(ctx, client, addresses[side], token)
			}))
		}
		order = append(order[1:], order[0])
	}
	for _, side := range order {
		b.ReportMetric(calls/median(taken[side]).Seconds(), side+"/s")
	}
	b.ReportMetric(median(taken["direct"]).Seconds()/median(taken["berth"]).Seconds(), "berth/direct")
	b.ReportMetric(median(taken["berth"]).Seconds()/median(taken["host"]).Seconds(), "host/berth")
	b.ReportMetric(median(taken["unpooled"]).Seconds()/median(taken["berth"]).Seconds(), "berth/unpooled")
}

func fetch(ctx context.Context, client *http.Client, address string, token session.Secret) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token.Reveal())
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("got %s", res.Status)
	}
	return nil
}
