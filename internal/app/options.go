package app

import (
	"log/slog"
	"net"
	"time"

	"berth/internal/pressure"
)

// Option gives an App a part of its environment that is not in the configuration.
type Option func(*processOptions)

// processOptions are the values of the options. The zero value means that none was given.
type processOptions struct {
	pressure []func(*pressure.Options)
	listener net.Listener
	redirect net.Listener
	notify   func(state string)
	watchdog time.Duration
	level    *slog.LevelVar
}

// WithPressure changes how the host is watched, for example with a source that a test controls.
func WithPressure(change func(*pressure.Options)) Option {
	return func(s *processOptions) { s.pressure = append(s.pressure, change) }
}

// WithListener has the App serve on a listener that another process opened, and may keep open when the App ends, instead of
// one on BERTH_LISTEN.
func WithListener(l net.Listener) Option { return func(s *processOptions) { s.listener = l } }

// WithRedirectListener is WithListener for BERTH_REDIRECT_LISTEN. It needs TLS.
func WithRedirectListener(l net.Listener) Option { return func(s *processOptions) { s.redirect = l } }

// WithSupervisor has the App report its state to its supervisor as sd_notify(3) describes, and, if watchdog is not 0, send
// watchdog notifications at least that often.
func WithSupervisor(tell func(state string), watchdog time.Duration) Option {
	return func(s *processOptions) { s.notify, s.watchdog = tell, watchdog }
}

// WithLevel is the level of the App's logger, which a reload may change.
func WithLevel(level *slog.LevelVar) Option { return func(s *processOptions) { s.level = level } }
