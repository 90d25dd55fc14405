package app

import (
	"log/slog"
	"net"
	"time"

	"berth/internal/pressure"
)

// Option gives an App something of the world around it that is not in the configuration.
type Option func(*processOptions)

// processOptions are what the options have given. The zero value: nothing.
type processOptions struct {
	pressure []func(*pressure.Options)
	listener net.Listener
	notify   func(state string)
	watchdog time.Duration
	level    *slog.LevelVar
}

// WithPressure changes how the host is watched, such as by a source that a test commands.
func WithPressure(change func(*pressure.Options)) Option {
	return func(s *processOptions) { s.pressure = append(s.pressure, change) }
}

// WithListener has the App serve on a listener that somebody else has opened, and may keep open when the App ends, instead
// of one on BERTH_LISTEN.
func WithListener(l net.Listener) Option { return func(s *processOptions) { s.listener = l } }

// WithSupervisor has the App tell its supervisor how it is, in the words of sd_notify(3), and, if watchdog is not 0, at
// least as often as that that it lives.
func WithSupervisor(tell func(state string), watchdog time.Duration) Option {
	return func(s *processOptions) { s.notify, s.watchdog = tell, watchdog }
}

// WithLevel is the level of the App's logger, which a reload may change.
func WithLevel(level *slog.LevelVar) Option { return func(s *processOptions) { s.level = level } }
