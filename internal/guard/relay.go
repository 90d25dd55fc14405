package guard

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"sync"
	"time"
)

// side is one end of a relay: a connection, and a reader that first gives what was read ahead of it.
type side struct {
	conn   halfCloser
	reader io.Reader
}

// newSide takes the data that is buffered in ahead; the rest is read from the connection itself.
func newSide(conn halfCloser, ahead *bufio.Reader) side {
	// Peek cannot fail for buffered data.
	early, _ := ahead.Peek(ahead.Buffered())
	return side{conn: conn, reader: io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn)}
}

// relay carries bytes both ways until both directions have ended, or ctx has; both connections are closed then.
//
// Each direction ends on its own: when the client has no more input, the write side to the engine is closed, and the
// engine may go on answering; when the engine has stopped reading, its output still arrives. The end of the engine's output
// ends the relay: the client has linger to close too, since closing at once could destroy output that it has not read yet.
func relay(ctx context.Context, client, engine side, linger time.Duration) {
	closeBoth := func() {
		client.conn.Close()
		engine.conn.Close()
	}
	stop := context.AfterFunc(ctx, closeBoth)
	defer stop()
	defer closeBoth()

	var input sync.WaitGroup
	input.Go(func() {
		readErr, writeErr := transfer(engine.conn, client.reader)
		switch {
		case readErr != nil:
			// The client has disconnected.
			closeBoth()
		case writeErr != nil:
			// The engine reads no more input. Reading on detects when the client disconnects.
			_, _ = io.Copy(io.Discard, client.reader)
		default:
			// An error means that the engine has closed already.
			_ = engine.conn.CloseWrite()
		}
	})
	if _, writeErr := transfer(client.conn, engine.reader); writeErr != nil {
		closeBoth()
	} else {
		// Whether the engine closed or failed, no more output will come.
		_ = client.conn.CloseWrite()
	}
	timer := time.AfterFunc(linger, closeBoth)
	defer timer.Stop()
	input.Wait()
}

// transfer copies until src ends, telling apart which side failed.
func transfer(dst io.Writer, src io.Reader) (readErr, writeErr error) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := src.Read(buffer)
		if n > 0 {
			if _, writeErr := dst.Write(buffer[:n]); writeErr != nil {
				return nil, writeErr
			}
		}
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return err, nil
		}
	}
}
