package server

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"berth/internal/httpapi"
	"berth/internal/session"
)

// http2Limits are the limits of a connection over HTTP/2. What they do not name, net/http bounds: handlers of streams that the client
// has reset count as streams until they return, and a client that resets four times as many is disconnected, as is one that has
// caused 10,000 control frames and reads none; a header has at most maxHeaderBytes in however many frames.
var http2Limits = http.HTTP2Config{
	MaxConcurrentStreams:          250,      // twenty tabs of a session with a few streams each, and their requests
	MaxReadFrameSize:              16 << 10, // the least: a connection has a buffer of this size
	MaxReceiveBufferPerConnection: 1 << 20,
	MaxReceiveBufferPerStream:     256 << 10,
	SendPingTimeout:               clientTimeout,
	PingTimeout:                   clientTimeout / 2,
}

// streams checks requests over HTTP/2, and ends those whose client does not read the response.
func (s *Server) streams(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor < 2 {
			next.ServeHTTP(w, r)
			return
		}
		if !isWellFormed(r) {
			httpapi.WriteProblem(w, r, session.Errorf(session.CodeMalformed, "the request's authority or path is malformed"))
			return
		}
		stream := &streamWriter{ResponseWriter: w, client: http.NewResponseController(w), stall: s.stall}
		defer stream.end()
		next.ServeHTTP(stream, r)
		_ = stream.FlushError() // net/http's own, when the handler has returned, would wait for the client without limit
	})
}

// isWellFormed makes the checks for HTTP/2 that net/http makes for HTTP/1.1 only, and refuses what can be read in two ways: a
// path that names another host, and a Host beside another authority. The scheme is not looked at: the connection's TLS decides.
func isWellFormed(r *http.Request) bool {
	if !strings.HasPrefix(r.RequestURI, "/") && r.RequestURI != "*" && r.Method != http.MethodConnect {
		return false
	}
	for _, host := range r.Header["Host"] {
		if host != r.Host {
			return false
		}
	}
	return r.Host != "" && !strings.ContainsFunc(r.Host, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune("\"#/<>?@\\^`{|}", c)
	})
}

// writeStep is the number of bytes of a response that a client must take within the timeout: the usual size of a frame.
const writeStep = 16 << 10

// streamWriter writes the response of a stream. It resets the stream when the client does not take writeStep bytes within stall.
// Over HTTP/2 that is the client's decision for each stream, while the connection works: the kernel does not notice it.
type streamWriter struct {
	http.ResponseWriter
	client *http.ResponseController
	stall  time.Duration

	mu      sync.Mutex
	timer   *time.Timer // nil before the first write
	writing bool
}

func (w *streamWriter) Write(p []byte) (n int, err error) {
	for {
		step := p[n:min(n+writeStep, len(p))]
		m := 0
		w.bounded(func() { m, err = w.ResponseWriter.Write(step) })
		n += m
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

// FlushError sends what is buffered.
func (w *streamWriter) FlushError() (err error) {
	w.bounded(func() { err = w.client.Flush() })
	return err
}

// Unwrap is for http.ResponseController.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// bounded resets the stream if write does not return in time.
func (w *streamWriter) bounded(write func()) {
	w.mu.Lock()
	w.writing = true
	if w.timer == nil {
		w.timer = time.AfterFunc(w.stall, w.reset)
	} else {
		w.timer.Reset(w.stall)
	}
	w.mu.Unlock()
	defer w.end()
	write()
}

// end stops the timer. The stream must not be used once its handler has returned.
func (w *streamWriter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = false
	if w.timer != nil {
		w.timer.Stop()
	}
}

func (w *streamWriter) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writing {
		_ = w.client.SetWriteDeadline(time.Unix(1, 0)) // a deadline in the past resets the stream at once
	}
}
