package doctor

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/moby/moby/api/types/container"
)

// apiLogging checks that access to the API is logged, and that only authorized users can read the log.
func apiLogging(ctx context.Context, o *Options) []Finding {
	findings := orPass(o.ownLogging(), pass("logging-on", "Berth logs from level %s on", o.Config.Log.Level))
	return append(findings, o.engineLogging(ctx)...)
}

func (o *Options) ownLogging() []Finding {
	l := o.Config.Log
	var findings []Finding
	if !l.Console && !l.FileEnabled {
		findings = append(findings, fail("logging-off", "set LOG_CONSOLE=true or LOG_FILE_ENABLED=true", "nothing is logged"))
	}
	if l.Level.Level() > slog.LevelInfo {
		findings = append(findings, warn("level-hides-calls", "set LOG_LEVEL=INFO", "level %s hides who called what", l.Level))
	}
	if !l.FileEnabled {
		return findings
	}
	info, err := os.Stat(l.File)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if dir, err := os.Stat(filepath.Dir(l.File)); err != nil || !dir.IsDir() {
			findings = append(findings, fail("log-file-impossible", "make the directory, or set LOG_FILE to another place", "there is no directory for %s", l.File).at(l.File, 0))
		}
	case err != nil:
		findings = append(findings, warn("log-file-unreadable", "let this user reach the file", "%v", err).at(l.File, 0))
	case info.Mode().Perm()&0o002 != 0:
		findings = append(findings, fail("log-file-writable", "chmod 0640 "+l.File, "%s has mode %04o: every user can change what was logged", l.File,
			info.Mode().Perm()).at(l.File, 0))
	case info.Mode().Perm()&0o004 != 0:
		findings = append(findings, warn("log-file-readable", "chmod 0640 "+l.File, "%s has mode %04o: every user can read who did what", l.File,
			info.Mode().Perm()).at(l.File, 0))
	}
	return findings
}

// engineLogging checks that calls of the engine are logged, and that sessions' output is kept.
func (o *Options) engineLogging(ctx context.Context) []Finding {
	info, none := o.info(ctx)
	if none != nil {
		return none
	}
	var findings []Finding
	if len(info.Plugins.Authorization) > 0 {
		findings = append(findings, pass("engine-audited", "authorization plugins see every request to the engine: %v", info.Plugins.Authorization))
	} else {
		findings = append(findings, skip("engine-audit-unknown", "the engine itself logs no requests; whether berth guard stands before it, which logs refusals "+
			"(and with LOG_LEVEL=DEBUG every request), is not seen from here"))
	}
	sessions, none := o.sessions(ctx)
	if none != nil {
		return append(findings, none...)
	}
	return append(findings, o.inspect(ctx, sessions, func(name string, host *container.HostConfig) []Finding {
		if host.LogConfig.Type != "none" {
			return nil
		}
		return []Finding{warn("session-log-off", adviceRecreate, "the output of session container %s is kept nowhere", name)}
	})...)
}
