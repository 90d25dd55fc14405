package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"berth/internal/session"
)

// Logs implements session.Runtime.
func (r *Runtime) Logs(ctx context.Context, ref string, opts session.LogOptions) (io.ReadCloser, error) {
	c, err := r.enterWith(ctx, "logs of", ref)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	active := c.run
	c.mu.Unlock()
	file, err := os.Open(c.logFile())
	if errors.Is(err, fs.ErrNotExist) { // it has never been started
		return io.NopCloser(strings.NewReader("")), nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", c.name, err)
	}
	if opts.Tail > 0 {
		if err := seekTail(file, opts.Tail); err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("find the last lines of the log of %s: %w", c.name, err)
		}
	}
	if !opts.Follow || active == nil {
		return file, nil
	}
	ctx, stop := context.WithCancel(ctx)
	return &follower{file: file, active: active, closing: r.closing, ctx: ctx, stop: stop}, nil
}

// follower reads a log until the process that writes it has ended.
type follower struct {
	file    *os.File
	active  *run
	closing <-chan struct{}
	ctx     context.Context //nolint:containedctx // an io.Reader has no other way to observe a cancellation
	stop    context.CancelFunc
}

func (f *follower) Read(p []byte) (int, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		last := f.isLast() // before Read, so that nothing is written between the two
		n, err := f.file.Read(p)
		switch {
		case n > 0 || len(p) == 0:
			return n, nil
		case err != nil && !errors.Is(err, io.EOF):
			return 0, err
		case f.ctx.Err() != nil:
			return 0, context.Cause(f.ctx)
		case last:
			return 0, io.EOF
		}
		select {
		case <-tick.C:
		case <-f.active.ended:
		case <-f.closing:
		case <-f.ctx.Done():
		}
	}
}

func (f *follower) isLast() bool {
	select {
	case <-f.active.ended:
		return true
	case <-f.closing:
		return true
	default:
		return false
	}
}

func (f *follower) Close() error {
	f.stop()
	return f.file.Close()
}

// seekTail moves to the start of the last n lines.
func seekTail(file io.ReadSeeker, n int) error {
	const block = 32 << 10
	at, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	buf := make([]byte, block)
	last := true // the block is the file's last one: a line end at its end does not separate lines
	for at > 0 {
		size := min(at, block)
		at -= size
		if _, err := file.Seek(at, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.ReadFull(file, buf[:size]); err != nil {
			return err
		}
		end := int(size)
		if last && buf[end-1] == '\n' {
			end--
		}
		last = false
		for end > 0 {
			i := bytes.LastIndexByte(buf[:end], '\n')
			if i < 0 {
				break
			}
			if n--; n == 0 {
				_, err := file.Seek(at+int64(i)+1, io.SeekStart)
				return err
			}
			end = i
		}
	}
	_, err = file.Seek(0, io.SeekStart)
	return err
}
