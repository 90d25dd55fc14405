package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"berth/internal/httpapi"
)

type sessionShowCmd struct {
	remote
	format
	ID string `arg:"" name:"session" help:"Session ID."`
}

// Run shows a session.
func (c *sessionShowCmd) Run(ctx context.Context, std *stdio, api *client) error {
	var s httpapi.Session
	if err := api.call(ctx, http.MethodGet, sessionPath(c.ID), nil, nil, &s); err != nil {
		return err
	}
	return c.print(std, s, append(fieldsOf(s), addressesOf(s, api)...))
}

func fieldsOf(s httpapi.Session) [][2]string {
	fields := [][2]string{
		{"session", string(s.ID)},
		{"status", string(s.Status)},
		{"owner", s.Owner},
		{"profile", s.Profile},
		{"image", imageOf(s)},
		{"limits", limitsOf(s.Shape)},
		{"container", s.ContainerName},
		{"workspace", s.HostDir},
		{"created", localTime(&s.CreatedAt)},
		{"last accessed", localTime(&s.LastAccessed)},
	}
	if s.Workspace != nil {
		fields = append(fields, [2]string{"size", sizeOf(s.Workspace)})
	}
	for _, f := range shapeFields(s.Shape) {
		if f[1] != "" {
			fields = append(fields, f)
		}
	}
	if len(s.OutOfDate) > 0 {
		names := make([]string, len(s.OutOfDate))
		for i, part := range s.OutOfDate {
			names[i] = string(part)
		}
		fields = append(fields, [2]string{"out of date", strings.Join(names, ", ")})
	}
	if s.Upgrade != nil && s.Operation == nil {
		fields = append(fields, [2]string{"previous image", s.Upgrade.Previous + ", with the state of " + localTime(&s.Upgrade.At)})
	}
	if s.TokenExpiresAt != nil {
		fields = append(fields, [2]string{"token expires", localTime(s.TokenExpiresAt)})
	}
	if s.Operation != nil {
		fields = append(fields, [2]string{"in progress", string(s.Operation.Kind)})
	}
	if s.LastError != "" {
		fields = append(fields, [2]string{"error", s.LastError})
	}
	return fields
}

// limitsOf are the limits of a session's next container as text.
func limitsOf(s httpapi.Shape) string {
	return fmt.Sprintf("%s of memory, %g CPUs, %d processes", s.Memory, s.CPUs, s.PIDs)
}

// shapeFields are what was asked for at a session's creation; empty: it was not.
func shapeFields(s httpapi.Shape) [][2]string {
	repository := s.Repository
	if s.Ref != "" {
		repository += " at " + s.Ref
	}
	return [][2]string{
		{"repository", repository},
		{"environment", strings.Join(s.Env, ", ")},
		{"egress", s.Egress},
		{"egress allow", strings.Join(s.Allow, ", ")},
	}
}

// sizeOf is the size of a session's volumes as text; "" when it is not known.
func sizeOf(w *httpapi.WorkspaceSize) string {
	if w == nil {
		return ""
	}
	text := fmt.Sprintf("%.1f MB", float64(w.Bytes)/1e6)
	if w.Bytes >= 1e9 {
		text = fmt.Sprintf("%.1f GB", float64(w.Bytes)/1e9)
	}
	if w.Partial {
		text = "over " + text
	}
	if w.Level != "ok" {
		text += " (" + w.Level + ")"
	}
	return text
}
