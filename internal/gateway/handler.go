package gateway

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"berth/internal/gateway/git"
	"berth/internal/gateway/model"
	"berth/internal/session"
)

// handle finds out who asks, and passes the request on.
func (g *Gateway) handle(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		refuse(w, http.StatusForbidden, "the address of this request cannot be read")
		return
	}
	token := takeToken(r)
	caller, live, known, ok := g.opts.Callers.authenticate(from.Addr(), token)
	switch {
	case !known:
		g.refused(r, Refusal{Address: from.Addr().String(), Rule: "address", What: "a request from an address that is no running session's"})
		refuse(w, http.StatusForbidden, "the gateway serves running sessions only, and this address is none's")
		return
	case !ok:
		g.refused(r, Refusal{Session: caller.Session, Address: from.Addr().String(), Rule: "token", What: "a request without this session's gateway token"})
		if isProxied(r) {
			w.Header().Set("Proxy-Authenticate", `Basic realm="Berth gateway"`)
			refuse(w, http.StatusProxyAuthRequired, "the proxy wants this session's gateway token: use the proxy of the variable HTTPS_PROXY as it is given")
			return
		}
		refuse(w, http.StatusUnauthorized, "the gateway wants this session's token, which is in the variable "+TokenVariable)
		return
	}
	service, missing := g.service(r)
	if service == nil {
		refuse(w, http.StatusNotFound, missing)
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	stop := context.AfterFunc(live, func() { cancel(ErrGone) })
	defer stop()
	service.Serve(w, r.WithContext(ctx), caller)
}

// isProxied reports whether the request is for another host, by way of a proxy.
func isProxied(r *http.Request) bool { return r.Method == http.MethodConnect || r.URL.IsAbs() }

// service returns what serves a request, or a sentence that says why there is nothing.
func (g *Gateway) service(r *http.Request) (Service, string) {
	switch path := r.URL.EscapedPath(); {
	case isProxied(r):
		return g.opts.Connect, "this gateway is no proxy"
	case strings.HasPrefix(path, model.Prefix):
		return g.opts.Models, "there are no models: the operator names them under models: in Berth's configuration"
	case strings.HasPrefix(path, git.Prefix):
		return g.opts.Git, "there are no git hosts: the operator names them under git: in Berth's configuration"
	}
	return nil, "the gateway serves " + model.Prefix + ", " + git.Prefix + " and CONNECT"
}

// refused records a refusal.
func (g *Gateway) refused(r *http.Request, what Refusal) {
	if g.opts.Refused != nil {
		g.opts.Refused(r.Context(), what)
	}
}

// refuse answers with a sentence.
func refuse(w http.ResponseWriter, status int, sentence string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Connection", "close") // a body that is not read is not a next request
	w.WriteHeader(status)
	_, _ = io.WriteString(w, sentence+"\n")
}

// takeToken removes the request's credentials and returns the token: the one that a proxy is shown, or that of a provider's API in any
// of the headers that they use, or a password. Two different ones are none.
func takeToken(r *http.Request) session.Secret {
	names := []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key"}
	if isProxied(r) {
		names = []string{"Proxy-Authorization"} // the others are for the other host
	}
	var token session.Secret
	ambiguous := false
	for _, name := range names {
		for _, value := range r.Header.Values(name) {
			shown := tokenOf(value)
			ambiguous = ambiguous || token != "" && shown != token
			token = shown
		}
		r.Header.Del(name)
	}
	r.Header.Del("Proxy-Authorization")
	if ambiguous {
		return ""
	}
	return token
}

// tokenOf returns the token in a header's value.
func tokenOf(value string) session.Secret {
	scheme, rest, found := strings.Cut(value, " ")
	switch {
	case !found:
		return session.Secret(value)
	case strings.EqualFold(scheme, "Bearer"):
		return session.Secret(strings.TrimSpace(rest))
	case strings.EqualFold(scheme, "Basic"):
		text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
		if err != nil {
			return ""
		}
		_, password, _ := strings.Cut(string(text), ":")
		return session.Secret(password)
	}
	return ""
}
