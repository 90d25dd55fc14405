package browser_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// report is what a session's server tells about the requests that it got.
type report struct {
	Cookies  []string // of the request for the report
	Hits     []string // method and path of the requests below /hit/
	Referers []string // of all requests
}

// pages is the server of a session: what hostile pages need, and what they are after.
type pages struct {
	mu   sync.Mutex
	seen report
}

// servePages serves until the process is killed.
func servePages(port string) error {
	p := &pages{}
	mux := http.NewServeMux()
	for path, text := range map[string]string{"/global/health": `{"healthy":true,"version":"pages"}`, "/session": "[]", "/session/status": "{}", "/pty": "[]"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, text)
		})
	}
	mux.HandleFunc("/report", p.report)
	mux.HandleFunc("/hit/", p.hit)
	mux.HandleFunc("/respond", respond)
	mux.HandleFunc("/events", events)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/", page)
	server := &http.Server{Addr: net.JoinHostPort("127.0.0.1", port), Handler: p.recorded(mux), ReadHeaderTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	return server.ListenAndServe()
}

func (p *pages) recorded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if referer := r.Referer(); referer != "" {
			p.mu.Lock()
			p.seen.Referers = append(p.seen.Referers, referer)
			p.mu.Unlock()
		}
		next.ServeHTTP(w, r)
	})
}

func (p *pages) report(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen
	seen.Cookies = r.Header["Cookie"]
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(seen)
}

// hit records the request. Its response runs as whatever it is taken for.
func (p *pages) hit(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen.Hits = append(p.seen.Hits, r.Method+" "+r.URL.Path)
	p.mu.Unlock()
	switch {
	case strings.Contains(r.URL.Path, ".js"):
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, "globalThis.stolen = 'secret'; globalThis.onconnect = e => e.ports[0].postMessage('secret')")
	case strings.Contains(r.URL.Path, ".css"):
		w.Header().Set("Content-Type", "text/css")
		_, _ = io.WriteString(w, ":root{--stolen:secret}")
	case strings.Contains(r.URL.Path, ".svg"):
		w.Header().Set("Content-Type", "image/svg+xml")
		_, _ = io.WriteString(w, `<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"/>`)
	case r.Header.Get("Upgrade") != "":
		echo(w, r)
	default:
		page(w, r)
	}
}

// respond answers as its query says: status, header fields ("Name: value"), those of an early response, those of the trailer.
func respond(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	add := func(values []string, prefix string) {
		for _, field := range values {
			name, value, _ := strings.Cut(field, ": ")
			w.Header().Add(prefix+name, value)
		}
	}
	if early := query["early"]; len(early) > 0 {
		add(early, "")
		w.WriteHeader(http.StatusEarlyHints)
		clear(w.Header())
	}
	add(query["header"], "")
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "text/html")
	}
	status := http.StatusOK
	if text := query.Get("status"); text != "" {
		_, _ = fmt.Sscan(text, &status)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<!doctype html><title>as told</title>")
	if trailer := query["trailer"]; len(trailer) > 0 {
		_ = http.NewResponseController(w).Flush()
		add(trailer, http.TrailerPrefix)
	}
}

// events sends one event every quarter of a second: the milliseconds since 1970.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(time.Second / 4)
	defer tick.Stop()
	for {
		if _, err := fmt.Fprintf(w, "data: %d\n\n", time.Now().UnixMilli()); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// echo returns the messages of a WebSocket, whatever page opened it: it is Berth's affair which may.
func echo(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil || conn.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

// page is one that tells its server about messages of other windows.
func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, `<!doctype html><title>a session</title><script>
onmessage = e => fetch('/hit/message?' + encodeURIComponent(e.data), {method: 'POST'})
</script><h1>secret</h1>`)
}
