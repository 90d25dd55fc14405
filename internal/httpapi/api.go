// Package httpapi is the operator and session API: JSON over HTTP, its OpenAPI document, and the problem documents
// that report every error of Berth.
//
// It knows routes, JSON shapes and who may call what. It does not know how a session is made, for which
// it has a [Sessions], and how traffic reaches one, which is the proxy's part.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"berth/internal/access"
	"berth/internal/lifecycle"
	"berth/internal/origin"
	"berth/internal/session"
)

// Sessions are the methods of the session manager that the API uses; see [session.Manager] for their contract.
type Sessions interface {
	Create(ctx context.Context, req lifecycle.Request) (lifecycle.Issued, error)
	Get(ctx context.Context, id session.ID) (session.Session, error)
	List(ctx context.Context, q session.Query) (session.Page, error)
	Start(ctx context.Context, id session.ID) (*lifecycle.Work, error)
	Stop(ctx context.Context, id session.ID) (*lifecycle.Work, error)
	Restart(ctx context.Context, id session.ID) (*lifecycle.Work, error)
	Delete(ctx context.Context, id session.ID) (*lifecycle.Work, error)
	Cancel(ctx context.Context, id session.ID) (*lifecycle.Work, error)
	Upgrade(ctx context.Context, id session.ID, req lifecycle.UpgradeRequest) (*lifecycle.Work, error)
	OutOfDate(ctx context.Context, s session.Session) ([]session.Part, error)
	Force(ctx context.Context, id session.ID, kind session.Kind) (*lifecycle.Work, error)
	Rotate(ctx context.Context, id session.ID, digest string, grace time.Duration) (session.Session, error)
	NewLink(ctx context.Context, id session.ID, l session.Link) (expires time.Time, err error)
	SignOut(ctx context.Context, id session.ID, signIn string) error
	Logs(ctx context.Context, id session.ID, opts session.LogOptions) (io.ReadCloser, error)
	IdleDeadline(s session.Session) lifecycle.IdleDeadline
	LimitsOf(s session.Session) session.Limits
	Listen(id session.ID) (changed <-chan struct{}, stop func())
	Health(id session.ID) (lifecycle.Health, bool)
	Healths() []lifecycle.Health
}

// Options are what the API needs. All but Logger, Now, Metrics and Known are required.
type Options struct {
	Sessions   Sessions
	Access     *access.Authority
	Known      func(session.ID) session.Token    // the tokens of a session that are in memory; default: none
	Version    string                            // of Berth, for the OpenAPI document and /health
	Size       func(session.ID) *WorkspaceSize   // the size of a session's volumes; default: not known
	Addresses  func(session.ID) []origin.Address // of a session's own origin; default: none
	SessionAt  func(*url.URL) session.ID         // whose own origin is at an address; "": nobody's; default: always
	Ready      func() error                      // why requests for sessions cannot be served now; nil: they can
	Health     func(context.Context) Health      // the operator's view without the containers
	CheckEvery time.Duration                     // between two health checks of a session; 0: there are none
	Instances  func() []Instance                 // the processes that serve the same sessions
	Streams    int                               // of events at once with sessions' own tokens; 0: 1024
	Streaming  func(context.Context)             // called when a stream of events begins with a session's own token; nil: not called
	Draining   <-chan struct{}                   // closed when followed logs have to end
	Metrics    http.Handler                      // of GET /metrics; nil: there are none
	Usage      Usage                             // of models; nil: it is not counted
	SignIn     SignIn                            // of people; nil: there is none
	Now        func() time.Time                  // default: time.Now
	Logger     *slog.Logger
}

func (o Options) validate() error {
	if o.Sessions == nil || o.Access == nil || o.Ready == nil || o.Health == nil || o.Instances == nil {
		return errors.New("sessions, access, ready, health and instances must be given")
	}
	return nil
}

// API answers the routes of [API.Handler].
type API struct {
	Options
	mux         *http.ServeMux
	huma        huma.API
	openAPI     []byte
	healthCache healthCache
	all         []Route
	streams     *streams
}

// Route is one route of the API.
type Route struct {
	Method, Path string
	Verb         access.Verb // that its principal needs
}

// Routes lists every route.
func (a *API) Routes() []Route { return slices.Clone(a.all) }

// New checks the options and registers the routes.
func New(opts Options) (*API, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Known == nil {
		opts.Known = func(session.ID) session.Token { return session.Token{} }
	}
	if opts.Streams <= 0 {
		opts.Streams = defaultStreams
	}
	if opts.Streaming == nil {
		opts.Streaming = func(context.Context) {}
	}
	if opts.Addresses == nil {
		opts.Addresses = func(session.ID) []origin.Address { return nil }
	}
	if opts.SessionAt == nil {
		opts.SessionAt = func(*url.URL) session.ID { return "" }
	}
	if opts.Size == nil {
		opts.Size = func(session.ID) *WorkspaceSize { return nil }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	a := &API{Options: opts, mux: http.NewServeMux(), streams: newStreams(opts.Streams)}
	a.huma = humago.New(a.mux, apiConfig(opts.Version))
	a.routes()
	var err error
	if a.openAPI, err = a.huma.OpenAPI().MarshalJSON(); err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	return a, nil
}

// Handler serves the API. The response to an unknown route is a problem document.
func (a *API) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := a.mux.Handler(r); pattern == "" {
			a.unknownRoute(w, r)
			return
		}
		a.mux.ServeHTTP(w, r)
	})
}

// unknownRoute responds with a problem document; it takes the allowed methods from the mux's own response.
func (a *API) unknownRoute(w http.ResponseWriter, r *http.Request) {
	probe := &statusOnly{header: http.Header{}}
	a.mux.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		allowed := probe.header.Get("Allow")
		w.Header().Set("Allow", allowed)
		WriteProblem(w, r, session.Errorf(session.CodeMethod, "this address answers %s only", allowed))
		return
	}
	WriteProblem(w, r, session.Errorf(session.CodeNotFound, "there is nothing at this address; /openapi.json lists what there is"))
}

type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }

// serveOpenAPI responds with the OpenAPI 3.1 document.
func (a *API) serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/vnd.oai.openapi+json")
	_, _ = w.Write(a.openAPI)
}
