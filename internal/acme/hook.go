package acme

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

const (
	// hookTimeout bounds a run of the hook, in which the record has to become visible.
	hookTimeout = 5 * time.Minute
	// maxHookOutput is how much of the hook's output is logged when it fails.
	maxHookOutput = 2 << 10
)

// Hook answers DNS challenges by a program of the operator's. It is run without a shell, as
//
//	program present FQDN VALUE
//	program cleanup FQDN VALUE
//
// to set a TXT record and to remove it. "present" ends when the authoritative servers answer with the record. Of the environment it
// gets PATH and HOME: the credentials of the DNS provider are its own affair, and Berth's secrets none of its.
type Hook struct {
	Program string
	Logger  *slog.Logger
}

var _ acmez.Solver = Hook{}

// Present implements [acmez.Solver].
func (h Hook) Present(ctx context.Context, c acme.Challenge) error { return h.run(ctx, "present", c) }

// CleanUp implements [acmez.Solver].
func (h Hook) CleanUp(ctx context.Context, c acme.Challenge) error {
	return h.run(context.WithoutCancel(ctx), "cleanup", c)
}

func (h Hook) run(ctx context.Context, what string, c acme.Challenge) error {
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.Program, what, c.DNS01TXTRecordName(), c.DNS01KeyAuthorization())
	for _, name := range []string{"PATH", "HOME"} {
		cmd.Env = append(cmd.Env, name+"="+os.Getenv(name))
	}
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // for children that keep the output open
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("it did not end in time: %w", context.Cause(ctx))
		}
		return fmt.Errorf("run %s %s %s: %w: %s", h.Program, what, c.DNS01TXTRecordName(), err, strings.TrimSpace(out.buf.String()))
	}
	h.Logger.InfoContext(ctx, "DNS hook has run", "step", what, "record", c.DNS01TXTRecordName())
	return nil
}

// tail keeps the last maxHookOutput bytes.
type tail struct{ buf bytes.Buffer } // embedded, its ReadFrom would be used

func (t *tail) Write(p []byte) (int, error) {
	n, err := t.buf.Write(p)
	if extra := t.buf.Len() - maxHookOutput; extra > 0 {
		t.buf.Next(extra)
	}
	return n, err
}
