// Package model serves sessions the operator's models. It knows the APIs of the providers: which calls they have, which of them stay
// within one request, where the key belongs, and how they count tokens. It does not know who may call, which the gateway has
// verified, nor what a budget is.
//
// A session asks for what its provider offers under "/models/NAME", with a token of its own in place of the key. What is sent is
// made anew from what was judged: a method and path of a closed list, a header of a closed list, and a body of which every member is
// known. What is not known is refused, because all sessions share the provider's account: what the provider keeps of one could be
// read by another, and what it runs or fetches itself goes around the list of what a session may reach.
package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"berth/internal/session"
	"berth/internal/usage"
)

// Provider is a service with models that sessions may use.
type Provider struct {
	Name    string // in paths and settings
	Kind    Kind
	BaseURL string // with the version, like "https://api.openai.com/v1"
	Key     Key
	Models  map[string]Model // allowed ones, by their names at the provider

	ServerTools bool     // whether the provider may run tools itself
	RemoteURLs  bool     // whether the provider may fetch addresses in requests
	Parameters  []string // further members of request bodies that may be sent
}

// Model is what is known of a model. The zero value is enough for calls.
type Model struct {
	Title     string // for people; empty: its name
	Context   int64  // most tokens of a conversation; 0: not known
	Output    int64  // most tokens of an answer; 0: not known
	Images    bool   // whether it takes images and PDF files
	Reasoning bool
	Price     usage.Price
}

func (m Model) label(id string) string { return cmp.Or(m.Title, id) }

// Options are the handler's. Meter is required.
type Options struct {
	Providers []Provider
	Meter     usage.Meter
	Logger    *slog.Logger // nil: none
	// Refused is called for each call that a rule refuses, with the rule's name. nil: nothing.
	Refused func(ctx context.Context, caller session.Caller, rule, what string)
	Limits  Limits
}

// Limits bound what sessions take of this process. Zero values are the defaults.
type Limits struct {
	Body          int64         // bytes of one request: 64 MiB
	Bodies        int64         // bytes of all requests that have not been sent: 512 MiB
	BodyTime      time.Duration // for a request to arrive: 5 min
	Calls         int           // of one session at a time: 64
	Header        time.Duration // until the provider answers: 1 h
	Idle          time.Duration // between two pieces of an answer: 15 min
	Drains        int           // answers at a time that are read to their end although the session has left: 64
	DrainTime     time.Duration // of one of them: 1 min
	DrainBytes    int64         // of one of them: 16 MiB
	FailureDetail int64         // bytes of a provider's error that are read: 64 KiB
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Body:          cmp.Or(l.Body, 64<<20),
		Bodies:        cmp.Or(l.Bodies, 512<<20),
		BodyTime:      cmp.Or(l.BodyTime, 5*time.Minute),
		Calls:         cmp.Or(l.Calls, 64),
		Header:        cmp.Or(l.Header, time.Hour),
		Idle:          cmp.Or(l.Idle, 15*time.Minute),
		Drains:        cmp.Or(l.Drains, 64),
		DrainTime:     cmp.Or(l.DrainTime, time.Minute),
		DrainBytes:    cmp.Or(l.DrainBytes, 16<<20),
		FailureDetail: cmp.Or(l.FailureDetail, 64<<10),
	}
}

// Handler passes calls on to the providers.
type Handler struct {
	meter     usage.Meter
	log       *slog.Logger
	refused   func(ctx context.Context, caller session.Caller, rule, what string)
	limits    Limits
	transport *http.Transport
	providers atomic.Pointer[map[string]*provider]

	bodies  atomic.Int64 // bytes of requests in memory
	mu      sync.Mutex
	calls   map[session.ID]int
	drains  int
	closing context.Context //nolint:containedctx // ends drains, which outlive their requests
	end     context.CancelFunc
}

// provider is a Provider that is ready for calls.
type provider struct {
	Provider
	base  *url.URL
	order []string // names of its models
}

// New checks the providers and returns a handler, which starts nothing.
func New(o Options) (*Handler, error) {
	if o.Meter == nil {
		return nil, errors.New("models need a meter")
	}
	h := &Handler{
		meter: o.Meter, log: o.Logger, refused: o.Refused, limits: o.Limits.withDefaults(), calls: map[session.ID]int{},
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.refused == nil {
		h.refused = func(context.Context, session.Caller, string, string) {}
	}
	h.transport = newTransport(h.limits)
	h.closing, h.end = context.WithCancel(context.Background())
	if err := h.Replace(o.Providers); err != nil {
		return nil, err
	}
	return h, nil
}

// Replace replaces all providers. Calls in progress keep theirs. After an error the earlier providers stay.
func (h *Handler) Replace(providers []Provider) error {
	all := make(map[string]*provider, len(providers))
	var faults []error
	for _, p := range providers {
		ready, err := prepare(p)
		if err == nil && all[p.Name] != nil {
			err = errors.New("there are two of this name")
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("model provider %q: %w", p.Name, err))
			continue
		}
		all[p.Name] = ready
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	h.providers.Store(&all)
	return nil
}

// Close ends the reading of answers whose sessions have left: what they have used is estimated. It may be called while calls are in
// progress.
func (h *Handler) Close() {
	h.end()
	h.transport.CloseIdleConnections()
}

// NamePattern is what the name of a provider looks like.
var NamePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

func prepare(p Provider) (*provider, error) {
	base, err := url.Parse(p.BaseURL)
	switch {
	case !NamePattern.MatchString(p.Name):
		return nil, errors.New("the name must be of small letters, digits, - and _")
	case !slices.Contains(Kinds(), p.Kind):
		return nil, fmt.Errorf("the kind %q is unknown", p.Kind)
	case err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("the base URL is not like https://api.example.com/v1")
	case p.Key == nil:
		return nil, errors.New("it has no key")
	case len(p.Models) == 0:
		return nil, errors.New("it has no models")
	}
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), ""
	p.Models = maps.Clone(p.Models)
	return &provider{Provider: p, base: base, order: slices.Sorted(maps.Keys(p.Models))}, nil
}

// Kinds lists every kind.
func Kinds() []Kind { return []Kind{OpenAICompatible, OpenAI, Anthropic, Google} }

func (p *provider) policy() policy {
	return policy{serverTools: p.ServerTools, remoteURLs: p.RemoteURLs, parameters: p.Parameters}
}
