package guard

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// takesOver reports whether the engine may answer a request by taking the connection over: after an upgrade, or, on two
// routes, after a plain 200 without a length, the older protocol.
func takesOver(r *http.Request, route string) bool {
	if upgradeOf(r.Header) != "" {
		return true
	}
	return r.Method == http.MethodPost && (route == routeAttach || route == routeExecStart)
}

// upgradeOf is the protocol that a head asks to switch to; empty if none.
func upgradeOf(header http.Header) string {
	for _, value := range header.Values("Connection") {
		for token := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(textproto.TrimString(token), "upgrade") {
				return header.Get("Upgrade")
			}
		}
	}
	return ""
}

// serveHijack passes a request on over a connection of its own, and joins the two connections if the engine takes over.
// httputil.ReverseProxy cannot do this: it does not know the old form, loses early input of the client, and cuts the engine's
// last output when the engine stops reading its input first.
func (h *handler) serveHijack(w *recorder, r *http.Request) {
	engine, err := h.dial(r.Context())
	if err != nil {
		h.engineFailed(w, r, err)
		return
	}
	defer engine.Close()
	stop := context.AfterFunc(r.Context(), func() { engine.Close() })
	defer stop()

	request := hijackRequest(r)
	if err := request.Write(engine); err != nil {
		h.engineFailed(w, r, err)
		return
	}
	reader := bufio.NewReader(engine)
	response, err := readFinalResponse(reader, request)
	if err != nil {
		h.engineFailed(w, r, err)
		return
	}
	if !tookOver(response) {
		copyResponse(w, response)
		return
	}
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		h.engineFailed(w, r, err)
		return
	}
	defer raw.Close()
	w.status, w.hijacked = response.StatusCode, true
	client, ok := raw.(halfCloser)
	if !ok {
		h.logger.ErrorContext(r.Context(), "connection cannot be closed in one direction", "type", fmt.Sprintf("%T", raw))
		return
	}
	if _, err := client.Write(responseHead(response)); err != nil {
		h.logger.DebugContext(r.Context(), "client left before its connection was taken over", "error", err)
		return
	}
	relay(r.Context(), newSide(client, buffered.Reader), newSide(engine, reader), h.options.Linger)
}

// hijackRequest is the request to the engine: r without hop-by-hop headers, the upgrade excepted.
func hijackRequest(r *http.Request) *http.Request {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.Host = "http", engineHost, engineHost
	upgrade := upgradeOf(r.Header)
	removeHopByHop(out.Header)
	if upgrade != "" {
		out.Header.Set("Connection", "Upgrade")
		out.Header.Set("Upgrade", upgrade)
	}
	if out.Header.Get("User-Agent") == "" {
		// An empty one keeps Go from adding its own.
		out.Header.Set("User-Agent", "")
	}
	return out
}

func removeHopByHop(header http.Header) {
	for _, value := range header.Values("Connection") {
		for name := range strings.SplitSeq(value, ",") {
			header.Del(textproto.TrimString(name))
		}
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		header.Del(name)
	}
}

// readFinalResponse skips interim answers, except the one that switches protocols.
func readFinalResponse(reader *bufio.Reader, request *http.Request) (*http.Response, error) {
	for {
		response, err := http.ReadResponse(reader, request)
		if err != nil {
			return nil, fmt.Errorf("read the engine's answer: %w", err)
		}
		if response.StatusCode == http.StatusSwitchingProtocols || response.StatusCode >= http.StatusOK {
			return response, nil
		}
	}
}

// tookOver reports whether what follows the head is no longer HTTP.
func tookOver(response *http.Response) bool {
	switch response.StatusCode {
	case http.StatusSwitchingProtocols:
		return true
	case http.StatusOK:
		return response.ContentLength < 0 && !slices.Contains(response.TransferEncoding, "chunked")
	default:
		return false
	}
}

func responseHead(response *http.Response) []byte {
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %s\r\n", response.Status)
	// A buffer takes every write.
	_ = response.Header.Write(&head)
	head.WriteString("\r\n")
	return head.Bytes()
}

// copyResponse passes on an ordinary answer, each piece as it comes.
func copyResponse(w *recorder, response *http.Response) {
	defer response.Body.Close()
	removeHopByHop(response.Header)
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(response.StatusCode)
	if _, err := io.Copy(flushWriter{w, http.NewResponseController(w)}, response.Body); err != nil {
		// The client must not take a truncated answer for a complete one.
		panic(http.ErrAbortHandler)
	}
}

type flushWriter struct {
	io.Writer
	control *http.ResponseController
}

func (f flushWriter) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.control.Flush()
	}
	return n, err
}

// halfCloser is a connection whose sending direction can be ended on its own.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}
