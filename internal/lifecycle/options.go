package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"berth/internal/session"
)

// Keys derives values from the token secret.
type Keys interface {
	// Upstream is the password of a container's server.
	Upstream(containerName string) session.Secret
	// IdempotentID is the session ID of an owner's idempotency key; always the same.
	IdempotentID(owner, idempotencyKey string) session.ID
	// Gateway is the token that a container shows to the gateway.
	Gateway(containerName string) session.Secret
}

// Gateway says how sessions reach the outside.
type Gateway interface {
	// Egress returns what a session's container reaches, which is never empty, and with [session.EgressListed] the lists and rules.
	Egress(s session.Session, p session.Profile) (session.EgressMode, []string)
	// Environment returns the variables with which a container uses the gateway, and shows it the token. Without a gateway there are
	// none. The error is CodeEngineUnavailable while it is not known where the gateway is, and CodeInvalid if there is none and the
	// session may not do without.
	Environment(ctx context.Context, s session.Session, p session.Profile, token session.Secret) (map[string]string, error)
}

// noGateway is the Gateway of sessions that reach everything themselves. Those that may not are refused.
type noGateway struct{}

func (noGateway) Egress(session.Session, session.Profile) (session.EgressMode, []string) {
	return session.EgressOpen, nil
}

func (noGateway) Environment(_ context.Context, s session.Session, p session.Profile, _ session.Secret) (map[string]string, error) {
	if p.Egress == "" && len(p.EgressAllow) == 0 {
		p.Egress = session.EgressOpen
	}
	if mode, _ := p.Narrowed(s.Shape, nil); mode != session.EgressOpen {
		return nil, session.Errorf(session.CodeInvalid, "nothing limits here what sessions reach: egress %s needs the gateway, "+
			"which sessions in containers have with GATEWAY_ENABLED", mode)
	}
	return map[string]string{}, nil
}

// Options are the Manager's settings. Zero means the default given here; Profiles and Limits are required.
type Options struct {
	Process        string                     // names this process in records; default: a random ID
	Profiles       map[string]session.Profile // by name
	DefaultProfile string                     // for requests that name none; default: "opencode"
	Limits         session.Limits             // of containers whose session and profile ask for none
	MaxLimits      session.Limits             // what a session may ask for; zero members: those of Limits
	Images         []session.ImagePattern     // what sessions may be created with and upgraded to, beside the profiles' images
	// Covers reports whether an egress list has everything that a rule allows. Nil: only the same text is covered.
	Covers         func(allow []string, rule string) bool
	MaxSessions    int           // sessions that may be creating or running at once; 0: no limit
	MaxPerOwner    int           // sessions of one owner, stopped ones included; 0: no limit
	TokenLife      time.Duration // 0: tokens do not expire
	SignInLife     time.Duration // of a browser's sign-in; default 7 days
	DeviceLife     time.Duration // of a paired device's token; default 30 days
	SweepEvery     time.Duration // between two removals of the digests of expired tokens; default 1 h
	StartTimeout   time.Duration // from the begin of a start to the first answer; default 2 min
	CloneTimeout   time.Duration // in addition to StartTimeout while a repository is cloned; default 10 min
	StopTimeout    time.Duration // from SIGTERM to SIGKILL; default 10 s
	ProbeInterval  time.Duration // between the starts of two readiness probes, at most; default 150 ms
	ProbeTimeout   time.Duration // of one probe; default 1 s
	ReconcileEvery time.Duration // default 30 s
	OrphanGrace    time.Duration // from the first sight of a container without a record to its removal; default 5 min
	Hold           OrphanHold    // where kept containers are recorded; nil: in this process only
	Handover       time.Duration // from taking an operation over from a living process to acting; default 1 s
	IdleTimeout    time.Duration // a session that was not used for so long is stopped; 0: never
	MaxBusy        time.Duration // how long a busy server keeps an unused session running beyond IdleTimeout; default 12 h
	MaxLifetime    time.Duration // of a session, from its creation; 0: unlimited
	Health         HealthOptions // how sessions are monitored
	Peers          Peers         // other processes on the store; nil: none
	Feed           Feed          // their changes; nil: the next reconciliation detects them
	Now            func() time.Time
	Logger         *slog.Logger
	Tracer         Tracer    // of background work; nil: it uses the context of Run
	Admission      Admission // beside MaxSessions, which is always enforced; nil: no other check
	Gateway        Gateway   // nil: sessions reach everything themselves
	Sink           Sink      // receives reports; nil: none are sent
}

// Admission decides whether the host has capacity for another session.
type Admission interface {
	// Admit returns a CodePressure error while no further session may be started.
	Admit(ctx context.Context) error
}

// Tracer gives each piece of background work a context of its own.
type Tracer interface {
	// Start returns the context of one piece of work, for example with an ID for logs.
	Start(ctx context.Context) context.Context
}

// untraced is the Tracer that returns its argument.
type untraced struct{}

func (untraced) Start(ctx context.Context) context.Context { return ctx }

func (o Options) withDefaults() Options {
	o.Process = cmp.Or(o.Process, string(session.NewID()))
	o.DefaultProfile = cmp.Or(o.DefaultProfile, "opencode")
	o.StartTimeout = cmp.Or(o.StartTimeout, 2*time.Minute)
	o.CloneTimeout = cmp.Or(o.CloneTimeout, 10*time.Minute)
	o.StopTimeout = cmp.Or(o.StopTimeout, 10*time.Second)
	o.ProbeInterval = cmp.Or(o.ProbeInterval, 150*time.Millisecond)
	o.ProbeTimeout = cmp.Or(o.ProbeTimeout, time.Second)
	o.ReconcileEvery = cmp.Or(o.ReconcileEvery, 30*time.Second)
	o.OrphanGrace = cmp.Or(o.OrphanGrace, 5*time.Minute)
	o.Handover = cmp.Or(o.Handover, time.Second)
	o.SignInLife = cmp.Or(o.SignInLife, 7*24*time.Hour)
	o.DeviceLife = cmp.Or(o.DeviceLife, 30*24*time.Hour)
	o.SweepEvery = cmp.Or(o.SweepEvery, time.Hour)
	o.MaxBusy = cmp.Or(o.MaxBusy, 12*time.Hour)
	o.Health = o.Health.withDefaults()
	if o.Hold == nil {
		o.Hold = &heldInMemory{}
	}
	if o.Peers == nil {
		o.Peers = soleProcess{process: o.Process}
	}
	if o.Gateway == nil {
		o.Gateway = noGateway{}
	}
	if o.Tracer == nil {
		o.Tracer = untraced{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() error {
	var faults []error
	for name, p := range o.Profiles {
		if err := p.Validate(); err != nil {
			faults = append(faults, fmt.Errorf("profile %s: %w", name, err))
		}
	}
	// Other profiles may be unused: a create with one that needs more is refused.
	if p, ok := o.Profiles[o.DefaultProfile]; !ok {
		faults = append(faults, fmt.Errorf("there is no profile %q", o.DefaultProfile))
	} else if limit := o.limitsOf(p, session.Shape{}).Memory; limit < p.MinMem {
		faults = append(faults, fmt.Errorf("profile %s needs %s of memory, the limit is %s", o.DefaultProfile, p.MinMem, limit))
	}
	if o.MaxSessions < 0 {
		faults = append(faults, fmt.Errorf("the limit of sessions is %d; use 0 for no limit", o.MaxSessions))
	}
	return errors.Join(faults...)
}

// now returns the present time in the form of records: UTC, in microseconds.
func (o Options) now() time.Time { return o.Now().UTC().Truncate(time.Microsecond) }

// rules returns the settings that decisions depend on.
func (o Options) rules() Rules {
	return Rules{
		Process: o.Process, StartTimeout: o.StartTimeout, CloneTimeout: o.CloneTimeout, StopTimeout: o.StopTimeout, IdleTimeout: o.IdleTimeout,
		Restarts: o.Health.restartsEnabled(), MaxRestarts: o.Health.MaxRestarts, RestartDelay: o.Health.delay,
	}
}
