package docker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"berth/internal/session"
)

// Watch calls f for each event of this installation's containers; the caller reconnects. See [session.Runtime]. f must be
// quick: an engine drops events for a reader that is more than a tenth of a second behind.
func (r *Runtime) Watch(ctx context.Context, ready func(), f func(session.RuntimeEvent)) error {
	const doing = "watch the engine's events"
	_, renewed := r.pool.state()
	inner, begun, end := r.stream(ctx)
	opened := make(chan struct{})
	open := sync.OnceFunc(func() { close(opened) })
	// Events returns when the engine has answered, or the request has failed.
	stream := r.api.Events(context.WithValue(inner, answered{}, open), client.EventsListOptions{
		Filters: client.Filters{}.Add("type", string(events.ContainerEventType)).Add("label", labelInstance+"="+r.instance),
	})
	begun()
	defer func() {
		end(nil)
		for range stream.Err { // closed when the goroutine that reads the stream has ended
		}
	}()
	select {
	case <-opened:
	default:
		return r.failure(ctx, doing, streamError(inner, <-stream.Err))
	}
	// An engine sends the header before it subscribes the client. Once it has answered a later request, it has.
	if err := r.Ping(ctx); err != nil {
		return err
	}
	if ready != nil {
		ready()
	}
	for {
		select {
		case message := <-stream.Messages:
			if message.Actor.Attributes[labelHelper] == "" {
				if e, known := event(message); known {
					f(e)
				}
			}
		case err := <-stream.Err:
			return r.failure(ctx, doing, streamError(inner, err))
		case <-renewed:
			return session.Errorf(session.CodeEngineUnavailable, "the connection to the Docker engine is renewed").
				Because(fmt.Errorf("%s: %w", doing, errRenewed))
		}
	}
}

// actions are the engine's events that Berth acts on. All others, such as those of a process that is run in a container, are
// ignored.
var actions = map[events.Action]session.Action{
	events.ActionCreate:  session.ActionCreated,
	events.ActionStart:   session.ActionStarted,
	events.ActionKill:    session.ActionSignalled,
	events.ActionOOM:     session.ActionOutOfMemory,
	events.ActionDie:     session.ActionEnded,
	events.ActionDestroy: session.ActionRemoved,
}

func event(m events.Message) (e session.RuntimeEvent, known bool) {
	action, known := actions[m.Action]
	e = session.RuntimeEvent{
		Action:    action,
		Container: m.Actor.ID,
		Name:      m.Actor.Attributes["name"],
		Session:   session.ID(m.Actor.Attributes[labelSession]),
		Signal:    signal(m.Actor.Attributes["signal"]),
		Time:      time.Unix(0, m.TimeNano).UTC().Truncate(time.Microsecond),
	}
	if m.TimeNano == 0 {
		e.Time = time.Unix(m.Time, 0).UTC()
	}
	if code, err := strconv.Atoi(m.Actor.Attributes["exitCode"]); err == nil {
		e.ExitCode = code
	}
	return e, known
}

// signal parses a signal as the sender wrote it: "15", "SIGTERM" or "term". An unknown one is 0.
func signal(text string) syscall.Signal {
	if number, err := strconv.Atoi(text); err == nil {
		return syscall.Signal(number)
	}
	return unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(text), "SIG"))
}
