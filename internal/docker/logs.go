package docker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"berth/internal/session"

	"github.com/moby/moby/client"
)

// Logs returns what the server wrote. See [session.Runtime].
func (r *Runtime) Logs(ctx context.Context, ref string, opts session.LogOptions) (io.ReadCloser, error) {
	doing := "read the log of container " + ref
	var id string
	err := r.read(ctx, doing, func(ctx context.Context) error {
		c, err := r.inspectOwn(ctx, ref)
		id = c.ID
		return err
	})
	if err != nil {
		return nil, err
	}
	wanted := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: opts.Follow}
	if opts.Tail > 0 {
		wanted.Tail = strconv.Itoa(opts.Tail)
	}
	inner, begun, end := r.stream(ctx)
	body, err := r.api.ContainerLogs(inner, id, wanted)
	begun()
	if err != nil {
		err = r.failure(ctx, doing, streamError(inner, err))
		end(nil)
		return nil, err
	}
	return &plainLog{frames: body, end: end}, nil
}

const (
	frameHeader = 8 // stream, three zeros, length of what follows in 4 bytes, big endian: Engine API, "stream format"
	frameFault  = 3 // the engine's own failure to read the log, as text
	faultLimit  = 4 << 10
)

// plainLog removes the frames in which an engine sends the output of a container without a terminal.
type plainLog struct {
	frames io.ReadCloser
	end    context.CancelCauseFunc
	left   int64 // bytes of the present frame
	err    error
}

func (l *plainLog) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for l.left == 0 && l.err == nil {
		l.err = l.next()
	}
	if l.err != nil {
		return 0, l.err
	}
	n, err := l.frames.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	if errors.Is(err, io.EOF) && l.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	l.err = err
	if n > 0 {
		return n, nil
	}
	return 0, err
}

func (l *plainLog) next() error {
	var header [frameHeader]byte
	if _, err := io.ReadFull(l.frames, header[:]); err != nil {
		return err // a clean end falls between two frames
	}
	size := int64(binary.BigEndian.Uint32(header[4:]))
	switch {
	case header[0] > frameFault || header[1] != 0 || header[2] != 0 || header[3] != 0:
		return fmt.Errorf("read the log: the engine sent %x, which is not a frame's header", header)
	case header[0] == frameFault:
		text, _ := io.ReadAll(io.LimitReader(l.frames, min(size, faultLimit)))
		return fmt.Errorf("read the log: the engine says: %s", text)
	}
	l.left = size
	return nil
}

// Close ends reading, also a Read that waits in another goroutine.
func (l *plainLog) Close() error {
	l.end(nil)
	return l.frames.Close()
}
