package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"berth/internal/access"
	"berth/internal/lifecycle"
	"berth/internal/session"
)

// IDParam is the session in the path. It is exported for the framework, which sees no other embedded fields.
type IDParam struct {
	ID session.ID `path:"id" example:"ses-gezdgnbvgy3tqojq"`
}

// check returns a CodeNotFound error for a text that cannot be a session's ID; see [register].
func (in IDParam) check() error {
	_, err := session.ParseID(string(in.ID))
	return err
}

// PreferParam is the Prefer header.
type PreferParam struct {
	Prefer string `header:"Prefer" doc:"respond-async: respond with 202 at once and continue in the background (RFC 7240)"`
}

func (in PreferParam) async() bool {
	for preference := range strings.SplitSeq(in.Prefer, ",") {
		if strings.EqualFold(strings.TrimSpace(preference), "respond-async") {
			return true
		}
	}
	return false
}

type createInput struct {
	PreferParam
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"a repeated request with the same key and owner leads to the same session"`
	Body           *struct {
		Owner    string           `json:"owner,omitempty" maxLength:"255" doc:"the user who owns the session: up to 255 characters (not bytes) of any text, without control characters, invisible formatting characters such as direction marks, or U+FFFD"`
		Profile  string           `json:"profile,omitempty" doc:"image profile; the default one if absent"`
		Image    string           `json:"image,omitempty" maxLength:"255" doc:"image; the profile's if absent"`
		Metadata session.Metadata `json:"metadata,omitempty" doc:"stored for the caller and returned unchanged, numbers without an exponent"`
		ShapeParams
	}
}

type createOutput struct {
	Status   int
	Location string `header:"Location"`
	Replayed string `header:"Idempotency-Replayed"`
	Body     NewSession
}

func (a *API) createSession(ctx context.Context, in *createInput) (*createOutput, error) {
	token, digest := a.Access.Issue()
	req := lifecycle.Request{IdempotencyKey: in.IdempotencyKey, TokenDigest: digest}
	if in.Body != nil {
		req.Owner, req.Profile, req.Image, req.Metadata = in.Body.Owner, in.Body.Profile, in.Body.Image, in.Body.Metadata
		var err error
		if req.Shape, err = in.Body.shape(); err != nil {
			return nil, err
		}
	}
	if err := restrict(access.PrincipalOf(ctx), &req); err != nil {
		return nil, err
	}
	issued, err := a.Sessions.Create(ctx, req)
	if err != nil {
		return nil, err
	}
	s, status := issued.Session(), http.StatusAccepted
	if !in.async() {
		if s, err = wait(ctx, issued.Work); err != nil {
			return nil, err
		}
		status = http.StatusCreated
	}
	out := &createOutput{
		Status: status, Location: "/sessions/" + string(s.ID),
		Body: NewSession{Session: a.sessionOf(s), Token: token.Reveal()},
	}
	if issued.Replayed {
		out.Replayed = "true"
		if status == http.StatusCreated {
			out.Status = http.StatusOK
		}
	}
	return out, nil
}

// restrict makes a session's create one that the principal may make: for its own owner, and for anyone but the operator under
// its own idempotency keys, because a repeated create shows a token.
func restrict(p access.Principal, req *lifecycle.Request) error {
	owner, ok := p.OwnerFor(req.Owner)
	if !ok {
		return session.Errorf(session.CodeForbidden, "with this sign-in or token, sessions are created for its own owner only; leave the owner out")
	}
	req.Owner = owner
	if p.Kind == access.Platform {
		req.Creator = p.Actor()
	}
	return mayChooseImage(p, req.Image)
}

// mayChooseImage refuses another image than the profile's to those who may not choose one.
func mayChooseImage(p access.Principal, image string) error {
	if image == "" || access.May(p, access.ChooseImage, "", "") {
		return nil
	}
	return session.Errorf(session.CodeForbidden, "images are chosen by the operator; leave the image out to have the profile's")
}

// wait waits for an operation; a problem names the session that it left in error.
func wait(ctx context.Context, w *lifecycle.Work) (session.Session, error) {
	s, err := w.Wait(ctx)
	if err == nil {
		return s, nil
	}
	p := ProblemOf(err)
	p.SessionID = w.Session().ID
	return s, &wrapped{Problem: &p, cause: err}
}

// wrapped is a problem with its cause, which is for the log only.
type wrapped struct {
	*Problem
	cause error
}

func (w *wrapped) Error() string   { return w.cause.Error() }
func (w *wrapped) Unwrap() []error { return []error{w.Problem, w.cause} }

// PageParams select one page of sessions. They are exported as [IDParam] is.
type PageParams struct {
	Owner string `query:"owner" doc:"only this owner's; may not be empty"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	After string `query:"after" doc:"next of the previous page"`
}

// Resolve refuses a filter that is given and empty, or given twice: ignored, it would list all owners' sessions.
func (PageParams) Resolve(ctx huma.Context) []error {
	return strictQuery(ctx, []string{"owner", "status", "limit", "after"}, []string{"owner", "status"})
}

// strictQuery refuses parameters that are not known, those that are given twice, and those that are given and empty although they
// select something.
func strictQuery(ctx huma.Context, known, selecting []string) []error {
	var faults []error
	refuse := func(name, why string) {
		faults = append(faults, &huma.ErrorDetail{Location: "query." + name, Message: why})
	}
	at := ctx.URL()
	query, err := url.ParseQuery(at.RawQuery)
	if err != nil {
		return []error{&huma.ErrorDetail{Location: "query", Message: "expected a query of name=value pairs, escaped as in a URL"}}
	}
	for name := range query {
		if !slices.Contains(known, name) {
			faults = append(faults, &huma.ErrorDetail{Location: "query", Message: "expected no parameters but " + strings.Join(known[:len(known)-1], ", ") + " and " + known[len(known)-1]})
			break
		}
	}
	for _, name := range known {
		values := query[name]
		switch {
		case len(values) > 1:
			refuse(name, "expected it once at most")
		case len(values) == 1 && values[0] == "" && slices.Contains(selecting, name):
			refuse(name, "expected a value; leave it out to ask for all")
		case len(values) == 1 && !utf8.ValidString(values[0]):
			refuse(name, "expected valid UTF-8")
		}
	}
	return faults
}

// pageOutput is one page of sessions in the form T.
type pageOutput[T any] struct {
	Body struct {
		Sessions []T    `json:"sessions"`
		Next     string `json:"next,omitempty" doc:"after of the next page; absent on the last one"`
	}
}

func pageOf[T any](page session.Page, form func(session.Session) T) *pageOutput[T] {
	out := &pageOutput[T]{}
	out.Body.Next = page.Next
	out.Body.Sessions = make([]T, len(page.Sessions))
	for i, s := range page.Sessions {
		out.Body.Sessions[i] = form(s)
	}
	return out
}

type listInput struct {
	PageParams
	Status []string `query:"status" enum:"creating,running,stopped,error" doc:"only these; separated by commas"`
}

func (a *API) listSessions(ctx context.Context, in *listInput) (*pageOutput[Session], error) {
	q := session.Query{After: in.After, Limit: in.Limit}
	for _, status := range in.Status {
		q.Statuses = append(q.Statuses, session.Status(status))
	}
	page, err := a.list(ctx, in.Owner, q)
	return pageOf(page, a.sessionOf), err
}

// list returns one page of the sessions that the principal reaches. Of another owner than its own there are none.
func (a *API) list(ctx context.Context, owner string, q session.Query) (session.Page, error) {
	owner, ok := access.PrincipalOf(ctx).OwnerFor(owner)
	if !ok {
		return session.Page{}, nil
	}
	q.Owner = owner
	return a.Sessions.List(ctx, q)
}

type sessionOutput struct {
	Status int
	Body   Session
}

func (a *API) getSession(ctx context.Context, in *IDParam) (*sessionOutput, error) {
	s, err := a.Sessions.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := &sessionOutput{Status: http.StatusOK, Body: a.sessionOf(s)}
	if maySeeDetails(ctx) {
		out.Body.OutOfDate = a.outOfDate(ctx, s)
	}
	return out, nil
}

type actInput struct {
	IDParam
	PreferParam
	Force bool `query:"force" doc:"stop, restart and delete: preempt the operation in progress"`
}

// act makes the handler of a route that runs an operation on a session and responds with the session. Operations of the given
// kind can be forced; empty: none can.
func (a *API) act(begin func(context.Context, session.ID) (*lifecycle.Work, error), forced session.Kind) func(context.Context, *actInput) (*sessionOutput, error) {
	return func(ctx context.Context, in *actInput) (*sessionOutput, error) {
		var w *lifecycle.Work
		var err error
		switch {
		case !in.Force:
			w, err = begin(ctx, in.ID)
		case forced == "":
			err = session.Errorf(session.CodeInvalid, "this cannot be forced")
		default:
			w, err = a.Sessions.Force(ctx, in.ID, forced)
		}
		if err != nil {
			return nil, err
		}
		return a.outcome(ctx, w, in.async())
	}
}

// outcome responds with the session at once, or after the operation.
func (a *API) outcome(ctx context.Context, w *lifecycle.Work, async bool) (*sessionOutput, error) {
	if async {
		return &sessionOutput{Status: http.StatusAccepted, Body: a.sessionOf(w.Session())}, nil
	}
	s, err := wait(ctx, w)
	if err != nil {
		return nil, err
	}
	return &sessionOutput{Status: http.StatusOK, Body: a.sessionOf(s)}, nil
}

type deleteOutput struct{ Status int }

func (a *API) deleteSession(ctx context.Context, in *actInput) (*deleteOutput, error) {
	out, err := a.act(a.Sessions.Delete, session.OpDelete)(ctx, in)
	if err != nil {
		return nil, err
	}
	if out.Status == http.StatusOK {
		return &deleteOutput{Status: http.StatusNoContent}, nil
	}
	return &deleteOutput{Status: out.Status}, nil
}

type logsInput struct {
	IDParam
	Follow bool `query:"follow" doc:"continue until the container stops"`
	Tail   int  `query:"tail" minimum:"0" doc:"only the last so many lines; 0: all"`
}

func (a *API) sessionLogs(ctx context.Context, in *logsInput) (*huma.StreamResponse, error) {
	release, err := a.beginStream(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	logs, err := a.Sessions.Logs(ctx, in.ID, session.LogOptions{Follow: in.Follow, Tail: in.Tail})
	if err != nil {
		cancel()
		release()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = logs.Close() })
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer release()
		defer logs.Close()
		defer stop()
		defer cancel()
		hctx.SetHeader("Content-Type", "text/plain; charset=utf-8")
		hctx.SetHeader("X-Content-Type-Options", "nosniff")
		a.stream(hctx.BodyWriter(), logs, cancel)
	}}, nil
}
