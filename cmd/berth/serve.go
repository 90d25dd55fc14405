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
	return `Serves the API and the proxy until it is told to stop (SIGINT, SIGTERM). Requests in flight are finished; sessions go on running and are found again at the next start. A second signal ends the process at once. SIGHUP reads the configuration file again and takes over what can be changed while it runs: the log level, MAX_CONCURRENT_SESSIONS and the thresholds of memory and CPU; the log names what has to wait for a restart.

Under systemd it says when it is ready and that it lives, and serves on the socket of berth.socket, so that a restart refuses no connection.

Every setting can be given in a file or in the environment: "berth config docs" lists them, "berth config check" looks them over without starting anything.

Examples:

    DOCKER_HOST=tcp://127.0.0.1:2376 DOCKER_CERT_PATH=./docker/certs berth serve
    berth serve --config /etc/berth/berth.yaml
    berth serve --runtime process      a first look where there is no Docker`
}

// Run serves until ctx ends.
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

// settingsError marks a failure to start that comes from a file or directory that the settings name and that is not there or
// not this user's, or from a database that the settings are wrong for: it stays so however often a supervisor tries. A full disk or an expired certificate does not.
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

// openLog opens the log that the configuration asks for.
func openLog(cfg config.Config, level slog.Leveler, std *stdio) (*slog.Logger, io.Closer, error) {
	options := telemetry.Options{Level: level, Format: cfg.Log.Format, NoColor: std.Getenv("NO_COLOR") != ""}
	if cfg.Log.Console {
		options.Console, options.Journal = std.Err, std.isJournal()
	}
	if cfg.Log.FileEnabled {
		options.File = telemetry.File{Path: cfg.Log.File, MaxSizeMB: cfg.Log.MaxSizeMB, Backups: cfg.Log.BackupCount}
	}
	log, closer, err := telemetry.NewLogger(options)
	// A file that cannot be written stays so however often the process is started.
	return log, closer, usageError(err)
}

// reload reads the configuration again. One with a fault changes nothing.
func (c *serveCmd) reload(ctx context.Context, a *app.App, log *slog.Logger, std *stdio) {
	_, _ = daemon.SdNotify(false, fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, monotonic()))
	defer func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady) }()
	cfg, err := c.ProvideConfig(std)
	if err == nil {
		err = a.Reload(ctx, cfg)
	}
	if err != nil {
		log.ErrorContext(ctx, "configuration not taken, going on with the one before", "error", err)
	}
}

// monotonic is the time that a supervisor compares, in microseconds; 0 where there is no such clock.
func monotonic() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0
	}
	return now.Nano() / 1000
}

// systemdOptions is what systemd gives and wants to hear, nothing where it has not started this process.
//
// The socket's address is systemd's to say. Another one in the settings (the default aside, which nobody has to have
// chosen) would be ignored, so it is refused.
func systemdOptions(listen string) ([]app.Option, error) {
	var options []app.Option
	listeners, err := activation.Listeners()
	switch {
	case err != nil:
		return nil, fmt.Errorf("take over the sockets of LISTEN_FDS: %w", err)
	case len(listeners) > 1:
		return nil, fmt.Errorf("the supervisor gives %d sockets, Berth serves on one: see ListenStream in berth.socket", len(listeners))
	case len(listeners) == 1 && listeners[0] == nil:
		return nil, errors.New("the supervisor's socket is not one for connections: it must be a ListenStream")
	case len(listeners) == 1 && listen != config.Default().Server.Listen && !sameAddress(listeners[0].Addr().String(), listen):
		return nil, withHint(usageError(fmt.Errorf("BERTH_LISTEN is %s, and the supervisor's socket listens on %s, which is what counts", listen, listeners[0].Addr())),
			"set ListenStream of berth.socket (systemctl edit berth.socket) and take BERTH_LISTEN out, or disable berth.socket")
	case len(listeners) == 1:
		options = append(options, app.WithListener(listeners[0]))
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("read the supervisor's watchdog: %w", err)
	}
	return append(options, app.WithSupervisor(func(state string) { _, _ = daemon.SdNotify(false, state) }, watchdog)), nil
}

// sameAddress tells whether a setting means the address that a socket has. Every address of the machine is written in
// several ways, and a socket of systemd's has it for both families.
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
