package proxy

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"berth/internal/waittest"
)

type observations struct {
	mu  sync.Mutex
	all []Observation
}

func (o *observations) add(seen Observation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, seen)
}

func (o *observations) list() []Observation {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]Observation(nil), o.all...)
}

func TestEveryRequestIsObserved(t *testing.T) {
	t.Parallel()
	var seen observations
	w := setup(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/socket" {
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer c.CloseNow()
			kind, text, err := c.Read(r.Context())
			if err == nil {
				_ = c.Write(r.Context(), kind, text)
			}
			_ = c.Close(websocket.StatusNormalClosure, "")
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "twelve bytes")
	}, func(o *Options) { o.Observe = seen.add })

	w.do(t, w.request(t, http.MethodPost, "/", strings.NewReader("seven b")))
	unauthenticated := w.request(t, http.MethodGet, "/", nil)
	unauthenticated.Header.Del("Authorization")
	w.do(t, unauthenticated)
	if got := w.proxy.Load(); got != (Load{Connections: 1, Dialed: 1}) {
		t.Errorf("without requests: got %+v, want the one connection that is kept", got)
	}
	c, _, err := websocket.Dial(t.Context(), w.front.URL+"/s/"+string(testID)+"/socket",
		&websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + testToken.Reveal()}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if got := w.proxy.Load(); got.Streams != 1 || got.Requests != 0 {
		t.Errorf("with a WebSocket open: got %+v, want one stream and no other request", got)
	}
	if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = c.Close(websocket.StatusNormalClosure, "")

	waittest.True(t, "three requests are over", func() bool { return len(seen.list()) == 3 })
	got := seen.list()
	want := []Observation{{Status: 200, Received: 7, Sent: 12}, {Status: 401}, {Status: 101, Stream: true}}
	if d := cmp.Diff(want[:1], got[:1], cmpopts.IgnoreFields(Observation{}, "Duration")); d != "" {
		t.Errorf("a request (-want +got):\n%s", d)
	}
	for i, o := range got {
		if o.Status != want[i].Status || o.Stream != want[i].Stream || o.Duration <= 0 {
			t.Errorf("request %d: got %+v, want status %d", i, o, want[i].Status)
		}
	}
	if ws := got[2]; ws.Received <= 5 || ws.Sent <= 5 {
		t.Errorf("the WebSocket: got %d and %d bytes, want more than the message each way", ws.Received, ws.Sent)
	}
	w.table.Close()
	waittest.True(t, "all connections are closed", func() bool { return w.proxy.Load().Connections == 0 })
}
