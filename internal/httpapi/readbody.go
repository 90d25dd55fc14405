package httpapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"berth/internal/session"
)

// readBody reads a request's body before the framework does, which treats every read error as an internal one.
func readBody(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	if r.Body == nil || r.Body == http.NoBody {
		next(ctx)
		return
	}
	tooLarge := session.Errorf(session.CodeTooLarge, "the request's body is over the limit of %d KiB", maxBody>>10)
	if r.ContentLength > maxBody { // refuse it without reading
		WriteProblem(w, r, tooLarge)
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		WriteProblem(w, r, tooLarge)
		return
	}
	if err != nil {
		WriteProblem(w, r, session.Errorf(session.CodeMalformed, "the request's body could not be read to its end").Because(err))
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	next(ctx)
}
