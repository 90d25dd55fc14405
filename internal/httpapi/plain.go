package httpapi

import (
	"context"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// livez responds as long as the process can.
func (a *API) livez(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") }

// readyz responds with 200 when sessions can be served, otherwise with 503 and the reason.
func (a *API) readyz(w http.ResponseWriter, r *http.Request) {
	if err := a.Ready(); err != nil {
		WriteProblem(w, r, err)
		return
	}
	plain(w, http.StatusOK, "ready\n")
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) //nolint:gosec // it is plain text, and nosniff keeps browsers from taking it for a page
}

type instancesOutput struct {
	Body struct {
		Instances []Instance `json:"instances"`
	}
}

func (a *API) listInstances(context.Context, *struct{}) (*instancesOutput, error) {
	out := &instancesOutput{}
	out.Body.Instances = a.Instances()
	return out, nil
}

// metrics delegates to the handler of the metrics, which has its own formats.
func (a *API) metrics(context.Context, *struct{}) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		a.Metrics.ServeHTTP(w, r)
	}}, nil
}

// stream copies text to the caller as it arrives, and ends when this server drains.
func (a *API) stream(w io.Writer, r io.Reader, cancel context.CancelFunc) {
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-a.Draining:
			cancel()
		case <-done:
		}
	}()
	flush := flusher(w)
	flush() // send the headers: a quiet server's log may stay empty for long
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			flush()
		}
		if err != nil {
			return
		}
	}
}

// flusher returns the function that flushes buffered bytes to the client.
func flusher(w io.Writer) func() {
	if f, ok := w.(http.Flusher); ok {
		return f.Flush
	}
	return func() {}
}
