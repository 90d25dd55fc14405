package proxy

import (
	"io"
	"net/http"

	"berth/internal/proxy/asset"
	"berth/internal/proxy/policy"
)

// answer is called with the head of every final response, and with 101 Switching Protocols.
func (p *Proxy) answer(res *http.Response) error {
	c := callOf(res.Request.Context())
	if !c.header.headerInTime() {
		return errHeaderTimeout
	}
	head := policy.Response{Status: res.StatusCode, Header: policy.Header(res.Header), HTTP11: res.ProtoAtLeast(1, 1)}
	var recorded []byte
	if c.conn != nil {
		recorded = c.conn.recorded()
	}
	switched := res.StatusCode == http.StatusSwitchingProtocols
	if res.Close && head.HTTP11 && !switched {
		var ok bool
		if head.Connection, ok = connectionHeader(recorded); !ok {
			return errInterim
		}
	}
	if err := c.entry.route.Answer(&c.request, c.verdict, head); err != nil {
		return err
	}
	if _, typed := res.Header["Content-Type"]; !typed {
		c.w.Header()["Content-Type"] = nil // otherwise net/http would guess one
	}
	policy.FilterTrailer(policy.Header(res.Trailer)) // the announced trailers, also of a response without a body
	if switched {
		if err := c.switchProtocols(res); err != nil {
			return err
		}
	} else if res.ContentLength < 0 {
		res.Body = &trailedBody{res.Body, res}
	}
	if !switched && !policy.IsEventStream(head.Header) {
		return p.assets.Answer(asset.Request{
			Session: c.request.Place.Session, Method: c.request.Method, Path: c.request.Place.Path,
			Query: c.request.Target.Query != "", Header: c.in.Header,
		}, res)
	}
	stream, err := c.entry.upstream.acquireStreamSlot()
	if err != nil {
		return err
	}
	c.slot.release()
	c.slot = stream
	p.becomeStream(c)
	return nil
}

// trailedBody is the body of a response with a trailer section. At its end it filters the trailer.
type trailedBody struct {
	io.ReadCloser
	res *http.Response
}

func (b *trailedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		policy.FilterTrailer(policy.Header(b.res.Trailer))
	}
	return n, err
}
