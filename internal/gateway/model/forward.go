package model

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"berth/internal/session"
	"berth/internal/usage"
)

// newTransport makes the connections to providers. Go sends a request again only if nothing of it has been written, or an HTTP/2
// server says that it has not looked at it: neither has been billed.
func newTransport(l Limits) *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  l.Header,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// forwarding is one call on its way to the provider and back.
type forwarding struct {
	h    *Handler
	w    http.ResponseWriter
	r    *http.Request
	p    *provider
	o    operation
	j    judged
	body *requestBody
	key  session.Secret

	result usage.Result // of the call, as far as it has come

	cancel context.CancelCauseFunc // ends the call to the provider
	left   atomic.Bool             // the session does not read the answer any more
	read   int64                   // bytes of the answer since then

	drain   sync.Mutex
	undrain func() // gives the drain back; nil: there is none
	ended   bool
}

// Why a call to a provider is ended.
var (
	errLeft    = errors.New("the session has left")
	errIdle    = errors.New("the provider has sent nothing for too long")
	errDrained = errors.New("the rest of the answer is too long")
)

func (f *forwarding) run() {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(f.r.Context()))
	defer cancel(nil)
	f.cancel = cancel
	stop := context.AfterFunc(f.r.Context(), f.leave)
	defer stop()
	defer f.stopDraining()

	size := int64(len(f.j.body))
	res, wrote, err := f.send(ctx)
	if err != nil {
		if wrote { // it may have been billed
			f.result = newCounter(f.o.api, f.j.stream).result(size)
		}
		if !f.left.Load() {
			f.h.log.WarnContext(ctx, "model provider does not answer", "provider", f.p.Name, "error", errors.Join(err, causeOf(ctx)))
			f.unreachable(err)
		}
		return
	}
	defer res.Body.Close()
	f.body.release()
	if res.StatusCode != http.StatusOK {
		f.fail(res)
		return
	}
	f.pass(ctx, res, size)
}

func causeOf(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// send sends the request and returns the provider's answer, and whether it may have got the request.
func (f *forwarding) send(ctx context.Context) (res *http.Response, wrote bool, err error) {
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { written.Store(true) }})
	to := *f.p.base
	to.Path += f.o.path
	to.RawQuery = f.o.query
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(f.j.body))
	if err != nil {
		return nil, false, err
	}
	req.Header = requestHeader(f.p.Kind, f.j.stream, f.key, f.r.Header)
	f.j.body = nil
	res, err = f.h.transport.RoundTrip(req)
	return res, written.Load(), err
}

// unreachable answers that there is no answer.
func (f *forwarding) unreachable(err error) {
	answer := failure{status: http.StatusBadGateway, text: fmt.Sprintf("the model provider %s cannot be reached", f.p.Name)}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		answer = failure{status: http.StatusGatewayTimeout, text: fmt.Sprintf("the model provider %s does not answer in time", f.p.Name)}
	}
	answer.write(f.w, f.p.Kind)
}

// pass passes on an answer as it arrives, and counts.
func (f *forwarding) pass(ctx context.Context, res *http.Response, size int64) {
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	stream := kind == "text/event-stream"
	counter := newCounter(f.o.api, stream)
	f.result = counter.result(size)
	answer, err := decoded(res)
	if err != nil || !stream && kind != "application/json" {
		f.h.log.WarnContext(ctx, "model provider answers in an unknown form", "provider", f.p.Name, "content_type", kind)
		failure{status: http.StatusBadGateway, text: fmt.Sprintf("the model provider %s answers in a form that the gateway cannot read", f.p.Name)}.write(f.w, f.p.Kind)
		return
	}
	answerHeader(f.w.Header(), res.Header)
	f.w.Header().Set("Content-Type", kind)
	if !f.left.Load() {
		f.w.WriteHeader(http.StatusOK)
		f.flush()
	}
	err = f.copy(answer, counter)
	f.result = counter.result(size)
	if f.o.api == apiCount { // costs nothing
		f.result = usage.Result{}
	}
	if err != nil && !f.left.Load() {
		f.h.log.WarnContext(ctx, "answer of model provider was cut", "provider", f.p.Name, "error", errors.Join(err, causeOf(ctx)))
		panic(http.ErrAbortHandler) // the session must not take the answer for a whole one
	}
}

// decoded is the content of an answer. Compressed ones were not asked for.
func decoded(res *http.Response) (io.Reader, error) {
	switch encoding := res.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
		return res.Body, nil
	case "gzip":
		return gzip.NewReader(res.Body)
	default:
		return nil, fmt.Errorf("content encoding %q", encoding)
	}
}

// copy copies the answer piece by piece. The error is why it has not ended as it should.
func (f *forwarding) copy(answer io.Reader, counter *counter) error {
	idle := time.AfterFunc(f.h.limits.Idle, func() { f.cancel(errIdle) })
	defer idle.Stop()
	hide := &redactor{secret: []byte(f.key.Reveal())}
	buffer := make([]byte, 16<<10)
	for {
		n, err := answer.Read(buffer)
		if n > 0 {
			idle.Reset(f.h.limits.Idle)
			f.write(hide.next(buffer[:n]))
			_, _ = counter.Write(buffer[:n])
			if f.left.Load() {
				if f.read += int64(n); f.read > f.h.limits.DrainBytes {
					f.cancel(errDrained)
				}
			}
		}
		if errors.Is(err, io.EOF) {
			f.write(hide.rest())
			counter.end()
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// write writes a piece of the answer at once.
func (f *forwarding) write(piece []byte) {
	if len(piece) == 0 || f.left.Load() {
		return
	}
	_ = http.NewResponseController(f.w).SetWriteDeadline(time.Now().Add(f.h.limits.Idle))
	if _, err := f.w.Write(piece); err != nil {
		f.leave()
		return
	}
	f.flush()
}

func (f *forwarding) flush() {
	if http.NewResponseController(f.w).Flush() != nil {
		f.leave()
	}
}
