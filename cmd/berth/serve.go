package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"berth/internal/app"
	"berth/internal/config"
	"berth/internal/pki"
	"berth/internal/storage"
	"berth/internal/telemetry"
)

type serveCmd struct {
	configFlags
}

// Help is shown by berth serve --help.
func (serveCmd) Help() string {
	return `Serves the API and the proxy until SIGINT or SIGTERM. Requests in flight are finished; sessions keep running and are adopted at the next start. A second signal ends the process at once. SIGHUP reloads the configuration and applies the settings that can change at run time: models, egress, budgets, the log level, MAX_CONCURRENT_SESSIONS and the thresholds of memory and CPU; the log names the changed settings that need a restart.

Under systemd it notifies readiness and the watchdog, and serves on the socket of berth.socket, so that a restart refuses no connection.

Every setting can be given in a file or in the environment: "berth config docs" lists them, "berth config check" validates them without starting anything.

Examples:

    DOCKER_HOST=tcp://127.0.0.1:2376 DOCKER_CERT_PATH=./docker/certs berth serve
    berth serve --config /etc/berth/berth.yaml
    berth serve --runtime process      a trial without Docker`
}

// Run serves until ctx is done.
func (c *serveCmd) Run(ctx context.Context, std *stdio) (err error) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	cfg, err := c.ProvideConfig(std)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(cfg.Log.Level.Level())
	log, closer, err := openLog(cfg, level, std)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	defer telemetry.RedirectStandardLog(telemetry.Named(log, "standard"))()

	options, err := systemdOptions(cfg.Server.Listen)
	if err != nil {
		return err
	}
	a, err := app.New(ctx, cfg, version(), log, append(options, app.WithLevel(level))...)
	if err != nil {
		return settingsError(err)
	}
	var reloads sync.WaitGroup
	ended := make(chan struct{})
	reloads.Go(func() {
		for {
			select {
			case <-hangups:
				c.reload(ctx, a, log, std)
			case <-ended:
				return
			}
		}
	})
	err = a.Run(ctx)
	close(ended)
	reloads.Wait()
	return errors.Join(err, a.Stop(ctx))
}

// settingsError marks a failure to start as a usage error when a restart by a supervisor cannot fix it: a file or directory
// of the settings is missing or belongs to another user, or the settings do not fit the database. A full disk or an expired
// certificate can be fixed without a change of the settings.
func settingsError(err error) error {
	isAny := func(all ...error) bool {
		return slices.ContainsFunc(all, func(one error) bool { return errors.Is(err, one) })
	}
	_, file := errors.AsType[*fs.PathError](err)
	if storage.IsPermanent(err) ||
		isAny(pki.ErrMissing, pki.ErrMalformed, pki.ErrMismatch, pki.ErrUntrusted, pki.ErrWrongKind,
			pki.ErrNoList, pki.ErrOlderList, pki.ErrListSigner, pki.ErrExposed, pki.ErrKeyExposed) ||
		file && isAny(fs.ErrNotExist, fs.ErrPermission, syscall.ENOTDIR, syscall.EISDIR, syscall.EROFS) {
		return usageError(err)
	}
	return err
}

// openLog opens the log as configured.
func openLog(cfg config.Config, level slog.Leveler, std *stdio) (*slog.Logger, io.Closer, error) {
	options := telemetry.Options{Level: level, Format: cfg.Log.Format, NoColor: std.Getenv("NO_COLOR") != ""}
	if cfg.Log.Console {
		options.Console, options.Journal = std.Err, std.isJournal()
	}
	if cfg.Log.FileEnabled {
		options.File = telemetry.File{Path: cfg.Log.File, MaxSizeMB: cfg.Log.MaxSizeMB, Backups: cfg.Log.BackupCount}
	}
	log, closer, err := telemetry.NewLogger(options)
	// A restart does not fix a file that cannot be written.
	return log, closer, usageError(err)
}

// reload reads and applies the configuration. A configuration with a fault changes nothing.
func (c *serveCmd) reload(ctx context.Context, a *app.App, log *slog.Logger, std *stdio) {
	_, _ = daemon.SdNotify(false, fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, monotonic()))
	defer func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady) }()
	cfg, err := c.ProvideConfig(std)
	if err == nil {
		err = a.Reload(ctx, cfg)
	}
	if err != nil {
		log.ErrorContext(ctx, "configuration reload failed, keeping the previous one", "error", err)
	}
}

// monotonic is CLOCK_MONOTONIC in microseconds, which the supervisor compares; 0 where there is no such clock.
func monotonic() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0
	}
	return now.Nano() / 1000
}

// systemdOptions are the socket that systemd passes and the notifications that it expects; none where systemd has not started
// this process.
//
// The address of the socket takes precedence. A different one in the settings would be ignored, so it is an error unless it is
// the default.
func systemdOptions(listen string) ([]app.Option, error) {
	var options []app.Option
	own, redirect, err := listenersOf(activation.Files(true))
	switch {
	case err != nil:
		return nil, err
	case own != nil && listen != config.Default().Server.Listen && !sameAddress(own.Addr().String(), listen):
		return nil, withHint(usageError(fmt.Errorf("BERTH_LISTEN is %s, but the supervisor's socket listens on %s, which takes precedence", listen, own.Addr())),
			"set ListenStream of berth.socket (systemctl edit berth.socket) and take BERTH_LISTEN out, or disable berth.socket")
	case own != nil:
		options = append(options, app.WithListener(own))
	}
	if redirect != nil {
		options = append(options, app.WithRedirectListener(redirect))
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("read the supervisor's watchdog: %w", err)
	}
	return append(options, app.WithSupervisor(func(state string) { _, _ = daemon.SdNotify(false, state) }, watchdog)), nil
}

// redirectName is the FileDescriptorName of the socket that plain HTTP is redirected on; the other one has any.
const redirectName = "redirect"

// listenersOf takes over the sockets of a supervisor, at most one of each kind. It closes the files.
func listenersOf(files []*os.File) (own, redirect net.Listener, err error) {
	counts := map[bool]int{}
	for _, file := range files {
		defer file.Close()
		counts[file.Name() == redirectName]++
	}
	if n := max(counts[false], counts[true]); n > 1 {
		return nil, nil, fmt.Errorf("the supervisor passes %d sockets, Berth serves on one: see ListenStream in berth.socket", n)
	}
	for _, file := range files {
		l, err := net.FileListener(file)
		if err != nil {
			return nil, nil, fmt.Errorf("the supervisor's socket does not accept connections: it must be a ListenStream: %w", err)
		}
		if file.Name() == redirectName {
			redirect = l
		} else {
			own = l
		}
	}
	return own, redirect, nil
}

// sameAddress reports whether a setting names the address of a socket. The unspecified address can be written in several ways,
// and a socket of systemd's has it for both address families.
func sameAddress(socket, setting string) bool {
	if socket == setting {
		return true
	}
	at, err := netip.ParseAddrPort(socket)
	if err != nil {
		return false
	}
	host, port, err := net.SplitHostPort(setting)
	if err != nil || port != strconv.Itoa(int(at.Port())) {
		return false
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		return at.Addr().IsUnspecified()
	}
	if host == "localhost" {
		return at.Addr().IsLoopback()
	}
	wanted, err := netip.ParseAddr(host)
	return err == nil && wanted.Unmap() == at.Addr().Unmap()
}
