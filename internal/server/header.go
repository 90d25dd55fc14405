package server

import (
	"io"
	"net/http"
	"strings"

	"berth/internal/httpapi"
	"berth/internal/session"
)

const (
	// maxCookies bounds the Cookie fields of a request that is served, and maxFields its other fields: names and values, in bytes.
	maxCookies = 64 << 10
	maxFields  = 64 << 10
	// maxHeaderBytes is what net/http reads of a header. Browsers send as many as 180 cookies of 4 KiB of a site, which a page next
	// door may have set. Only we can tell the browser to remove them: net/http's own response to more than this cannot.
	maxHeaderBytes = 1 << 20
)

var (
	errCookies = session.Errorf(session.CodeHeaderTooLarge, "the browser sent more cookies for this site than fit; they are being removed. Load the page again, and sign in again")
	errFields  = session.Errorf(session.CodeHeaderTooLarge, "the request's header is larger than %d bytes; send less", maxFields)
)

const cookiesPage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Too many cookies</title>
<h1>Too many cookies</h1>
<p role="alert">A page had stored more cookies for this site than fit in a request. They have been removed, and you may have to sign in again.</p>
<p><a href="">Load the page again</a></p>
</html>
`

// limited refuses requests with a larger header than is served, and has a browser remove its cookies when they are the reason.
func limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookies, fields := sizeOf(r.Header)
		if cookies <= maxCookies && fields <= maxFields {
			next.ServeHTTP(w, r)
			return
		}
		readable := strings.Contains(r.Header.Get("Accept"), "text/html")
		h := w.Header()
		if cookies > maxCookies {
			repairCookies(h, r)
		}
		clear(r.Header) // is not kept in memory while a client takes its time to read the response
		h.Set("Cache-Control", "no-store")
		if r.ProtoMajor < 2 {
			h.Set("Connection", "close")
		}
		if cookies <= maxCookies {
			httpapi.WriteProblem(w, r, errFields)
			return
		}
		if !readable {
			httpapi.WriteProblem(w, r, errCookies)
			return
		}
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'")
		w.WriteHeader(http.StatusRequestHeaderFieldsTooLarge)
		_, _ = io.WriteString(w, cookiesPage) // the client has closed the connection
	})
}

// sizeOf returns the size of the Cookie fields and that of all others.
func sizeOf(h http.Header) (cookies, others int) {
	for name, values := range h {
		size := 0
		for _, value := range values {
			size += len(name) + len(value)
		}
		if name == "Cookie" {
			cookies += size
		} else {
			others += size
		}
	}
	return cookies, others
}
