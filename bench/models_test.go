package bench_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"berth/internal/gateway/model"
	"berth/internal/session"
	"berth/internal/usage"
)

// freeMeter admits everything.
type freeMeter struct{}

func (freeMeter) Reserve(context.Context, usage.Call) (usage.Reservation, error) {
	return freeMeter{}, nil
}
func (freeMeter) Settle(context.Context, usage.Result) {}

// BenchmarkModels compares streamed answers through the gateway's judge and counter with direct ones and with a raw copy: the time to the
// first byte of a request of 100 KB, and the rate of an answer of 32 MB in events of 300 bytes. Each iteration does a round on every
// side, in alternating order.
//
//	go test -run '^$' -bench Models -benchtime 20x ./bench
func BenchmarkModels(b *testing.B) {
	event := []byte(`data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + string(bytes.Repeat([]byte("word "), 42)) + `"}}` + "\n\n")
	events := bytes.Repeat(event, 100)
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write(event)
		_ = http.NewResponseController(w).Flush()
		for range 32 << 20 / len(events) {
			_, _ = w.Write(events)
		}
	}))
	defer provider.Close()
	handler, err := model.New(model.Options{Meter: freeMeter{}, Providers: []model.Provider{{
		Name: "anthropic", Kind: model.Anthropic, BaseURL: provider.URL + "/v1", Key: model.FixedKey("key"), Models: map[string]model.Model{"m": {}},
	}}})
	must(b, err)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.Serve(w, r, session.Caller{Session: "ses-bench"})
	}))
	defer gateway.Close()
	raw := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { copyRaw(w, r, provider.URL) }))
	defer raw.Close()

	body := fmt.Sprintf(`{"model":"m","max_tokens":100,"stream":true,"messages":[{"role":"user","content":%q}]}`, bytes.Repeat([]byte("a word "), 100<<10/7))
	first, whole := map[string][]time.Duration{}, map[string][]time.Duration{}
	addresses := map[string]string{"direct": provider.URL, "raw": raw.URL, "berth": gateway.URL + "/models/anthropic/v1/messages"}
	order := []string{"direct", "raw", "berth"}
	for b.Loop() {
		for _, side := range order {
			begin := time.Now()
			res, err := http.Post(addresses[side], "application/json", bytes.NewReader([]byte(body)))
			must(b, err)
			_, err = io.ReadFull(res.Body, make([]byte, 1))
			must(b, err)
			first[side] = append(first[side], time.Since(begin))
			n, err := io.Copy(io.Discard, res.Body)
			must(b, err)
			whole[side] = append(whole[side], time.Since(begin))
			must(b, res.Body.Close())
			if res.StatusCode != http.StatusOK || n < 30<<20 {
				b.Fatalf("%s: %s and %d bytes", side, res.Status, n)
			}
		}
		order = append(order[1:], order[0])
	}
	for _, side := range order {
		b.ReportMetric(float64(median(first[side]).Microseconds()), side+"-first-µs")
		b.ReportMetric(32/median(whole[side]).Seconds(), side+"-MB/s")
	}
	b.ReportMetric(float64((median(first["berth"]) - median(first["direct"])).Microseconds()), "overhead-µs")
	b.ReportMetric(median(whole["raw"]).Seconds()/median(whole["berth"]).Seconds(), "berth/raw")
}

// copyRaw passes a request on and copies the answer, flushing each piece.
func copyRaw(w http.ResponseWriter, r *http.Request, to string) {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, to, r.Body)
	if err != nil {
		return
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return
	}
	defer func() { _ = res.Body.Close() }()
	buffer := make([]byte, 16<<10)
	for {
		n, err := res.Body.Read(buffer)
		_, _ = w.Write(buffer[:n])
		_ = http.NewResponseController(w).Flush()
		if err != nil {
			return
		}
	}
}
