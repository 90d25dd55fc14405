package bench_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/proxy"
	"berth/internal/session"
)

// BenchmarkProxy compares small responses through Berth's proxy, with token, credential and pool, with direct requests and
// with a minimal proxy that opens a connection for each request, as the previous service did. Each iteration does a round on
// every side, in alternating order.
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
	p, err := proxy.New(proxy.Options{Table: table, Access: authority, Logger: slog.New(slog.DiscardHandler)})
	must(b, err)
	pooled := httptest.NewServer(p)
	defer pooled.Close()

	target, err := url.Parse(server.URL)
	must(b, err)
	unpooled := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{DisableKeepAlives: true},
	})
	defer unpooled.Close()

	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	defer client.CloseIdleConnections()
	addresses := map[string]string{"direct": server.URL + "/x", "berth": pooled.URL + "/s/ses-bench/x", "unpooled": unpooled.URL + "/x"}
	taken := map[string][]time.Duration{}
	order := []string{"direct", "berth", "unpooled"}
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
