package model

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"berth/internal/session"
	"berth/internal/usage"
)

// Prefix is the path that leads to the providers; the name of one follows.
const Prefix = "/models/"

// Serve answers a call of a session's container. The caller has been verified, by its token and its address.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, caller session.Caller) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, Prefix), "/")
	p := (*h.providers.Load())[name]
	kind := OpenAICompatible
	if p != nil {
		kind = p.Kind
	}
	switch {
	case !canonical(r.URL) || !strings.HasPrefix(r.URL.Path, Prefix):
		h.refuse(w, r, caller, kind, name, refuse(RulePath, "the path is not in its plain form, without escapes and empty or dot segments"))
		return
	case p == nil:
		failure{status: http.StatusNotFound, text: "the operator has no model provider of this name"}.write(w, kind)
		return
	}
	o, refused := operationOf(kind, r.Method, "/"+rest, r.URL.RawQuery)
	switch {
	case refused != nil:
		h.refuse(w, r, caller, kind, name, refused)
	case o.api == apiList:
		p.list(w)
	default:
		h.call(w, r, caller, p, o)
	}
}

// refuse answers a call that a rule refuses.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, caller session.Caller, kind Kind, name string, why *refusal) {
	h.refused(r.Context(), caller, why.rule, name+": "+why.Error())
	status := http.StatusForbidden
	if why.rule == RuleBody {
		status = http.StatusBadRequest
	}
	failure{status: status, text: why.Error(), kind: "refused_by_gateway"}.write(w, kind)
}

// call passes on one call of a session.
func (h *Handler) call(w http.ResponseWriter, r *http.Request, caller session.Caller, p *provider, o operation) {
	if !h.admit(caller.Session) {
		failure{status: http.StatusTooManyRequests, text: "this session has too many calls to models in progress", after: time.Second}.write(w, p.Kind)
		return
	}
	defer h.leave(caller.Session)
	body := &requestBody{h: h}
	defer body.release()
	if failed := body.read(w, r); failed != nil {
		failed.write(w, p.Kind)
		return
	}
	j, refused := o.judge(p.policy(), func(model string) bool { _, ok := p.Models[model]; return ok }, body.text)
	if refused != nil {
		h.refuse(w, r, caller, p.Kind, p.Name, refused)
		return
	}
	body.replace(j.body)
	key, err := p.Key()
	if err != nil {
		h.log.ErrorContext(r.Context(), "model provider has no key", "provider", p.Name, "error", err)
		failure{status: http.StatusForbidden, kind: "no_key", text: "the operator's key for the model provider " + p.Name + " is missing or cannot be read: tell the operator"}.write(w, p.Kind)
		return
	}
	reservation, err := h.meter.Reserve(r.Context(), usage.Call{
		Caller: caller, Provider: p.Name, Model: j.model, Price: p.Models[j.model].Price, Most: j.most(o.api, p.Models[j.model]),
	})
	if err != nil {
		failureOf(err).write(w, p.Kind)
		return
	}
	f := &forwarding{h: h, w: w, r: r, p: p, o: o, j: j, body: body, key: key, result: usage.Result{Failed: true}}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), settleTime)
		defer cancel()
		reservation.Settle(ctx, f.result)
	}()
	f.run()
}

// settleTime is how long the store may take to settle a call.
const settleTime = 10 * time.Second

// most is the most that a call can use. A token is rarely less than three bytes of a request; what is known of the model bounds it too.
func (j judged) most(a api, m Model) usage.Tokens {
	if a == apiCount {
		return usage.Tokens{}
	}
	most := usage.Tokens{Input: int64(len(j.body)) / bytesOfToken, Output: j.output}
	if m.Context > 0 {
		most.Input = min(most.Input, m.Context)
	}
	switch {
	case most.Output == 0 && m.Output > 0:
		most.Output = m.Output
	case most.Output == 0:
		most.Output = unknownOutput
	case m.Output > 0:
		most.Output = min(most.Output, m.Output)
	}
	most.Output *= max(j.times, 1)
	return most
}

// unknownOutput is taken as the most tokens of an answer where neither the request nor the settings say it.
const unknownOutput = 32_000

// admit takes one of a session's calls at a time; leave gives it back.
func (h *Handler) admit(id session.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.calls[id] >= h.limits.Calls {
		return false
	}
	h.calls[id]++
	return true
}

func (h *Handler) leave(id session.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.calls[id]--; h.calls[id] == 0 {
		delete(h.calls, id)
	}
}

func asFailure(err error) (*session.Failure, bool) { return errors.AsType[*session.Failure](err) }

// requestBody is a request's body in memory, which counts against that of all requests.
type requestBody struct {
	h       *Handler
	text    []byte
	counted int64
}

// read reads the whole body.
func (b *requestBody) read(w http.ResponseWriter, r *http.Request) *failure {
	tooLarge := &failure{status: http.StatusRequestEntityTooLarge, text: "the request is larger than the gateway passes on"}
	switch encoding := r.Header.Get("Content-Encoding"); {
	case encoding != "" && encoding != "identity":
		return &failure{status: http.StatusUnsupportedMediaType, text: "the gateway does not decode compressed requests"}
	case r.ContentLength > b.h.limits.Body:
		return tooLarge
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(b.h.limits.BodyTime))
	buffer := make([]byte, 0, min(max(r.ContentLength, 4<<10), 1<<20)+1)
	for {
		if len(buffer) == cap(buffer) {
			buffer = append(buffer, 0)[:len(buffer)]
		}
		if !b.count(int64(cap(buffer))) {
			return &failure{status: http.StatusServiceUnavailable, text: "too many large requests to models are in progress", after: time.Second}
		}
		n, err := r.Body.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		switch {
		case int64(len(buffer)) > b.h.limits.Body:
			return tooLarge
		case errors.Is(err, io.EOF):
			_ = control.SetReadDeadline(time.Time{})
			b.text = buffer
			return nil
		case err != nil:
			return &failure{status: http.StatusBadRequest, text: "the request did not arrive"}
		}
	}
}

// count makes size the bytes that the body counts for, unless there are too many in all.
func (b *requestBody) count(size int64) bool {
	if size == b.counted {
		return true
	}
	if b.h.bodies.Add(size-b.counted) > b.h.limits.Bodies && size > b.counted {
		b.h.bodies.Add(b.counted - size)
		return false
	}
	b.counted = size
	return true
}

// replace replaces the body by the one that is sent.
func (b *requestBody) replace(text []byte) {
	b.text = text
	b.count(int64(cap(text)))
}

// release forgets the body.
func (b *requestBody) release() {
	b.text = nil
	b.count(0)
}
