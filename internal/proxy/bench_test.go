package proxy

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"berth/internal/session"
)

// BenchmarkProxy compares a small answer through the proxy with the same answer asked for directly.
func BenchmarkProxy(b *testing.B) {
	answer := make([]byte, 200)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) }))
	defer server.Close()
	keys, err := session.NewKeys([]byte("a secret of more than sixteen bytes"))
	if err != nil {
		b.Fatal(err)
	}
	table := NewTable()
	defer table.Close()
	table.Set(session.Route{
		ID: testID, Address: server.Listener.Addr().String(), Username: testUser, Credential: testPass,
		TokenDigest: keys.Digest(testToken), Running: true,
	})
	proxy, err := New(Options{Table: table, Keys: keys, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	front := httptest.NewServer(proxy)
	defer front.Close()

	for name, url := range map[string]string{"proxied": front.URL + "/s/" + string(testID) + "/x", "direct": server.URL + "/x"} {
		b.Run(name, func(b *testing.B) {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			defer client.CloseIdleConnections()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r, _ := http.NewRequest(http.MethodGet, url, nil)
					r.Header.Set("Authorization", "Bearer "+testToken.Reveal())
					res, err := client.Do(r)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			})
		})
	}
}
