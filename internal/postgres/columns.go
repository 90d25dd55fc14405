package postgres

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"berth/internal/session"
)

// columns are those of a session that a statement writes, in the order of [values]. The first ten names are the
// contract's.
var columns = []string{
	"session_id", "container_name", "container_id", "host_dir", "port", "auth_token", "created_at", "last_accessed", "status", "metadata",
	"owner", "image", "profile", "host", "token_expires_at", "token_rotated_at", "expires_at", "last_error",
	"operation", "operation_owner", "operation_deadline", "restart_count", "stop_reason", "timeline",
	"previous_auth_token", "previous_token_expires_at", "image_source", "upgrade", "revision",
}

// values are what a session puts into the columns. A session without a form in JSON is a CodeInvalid error.
func values(s session.Session) ([]any, error) {
	metadata, err := encodeMetadata(s.Metadata)
	if err != nil {
		return nil, err
	}
	var timeline []byte
	if s.Timeline != nil {
		if timeline, err = encodeJSON(s.Timeline); err != nil {
			return nil, err
		}
	}
	var upgrade []byte
	if s.Upgrade != nil {
		if upgrade, err = encodeJSON(s.Upgrade); err != nil {
			return nil, err
		}
	}
	var op struct {
		kind, owner *string
		deadline    *time.Time
	}
	if s.Operation != nil {
		kind := string(s.Operation.Kind)
		op.kind, op.owner, op.deadline = &kind, &s.Operation.Owner, instant(s.Operation.Deadline)
	}
	return []any{
		string(s.ID), s.ContainerName, s.ContainerID, s.HostDir, s.Port, s.Token.Digest,
		s.CreatedAt.UTC().Truncate(time.Microsecond), instant(s.LastAccessed), string(s.Status), jsonText(metadata),
		s.Owner, s.Image, s.Profile, s.Host, instant(s.Token.ExpiresAt), instant(s.Token.RotatedAt), instant(s.ExpiresAt), s.LastError,
		op.kind, op.owner, op.deadline, s.RestartCount, string(s.StopReason), jsonText(timeline),
		s.Token.PreviousDigest, instant(s.Token.PreviousExpiresAt), string(s.ImageSource), jsonText(upgrade), s.Revision,
	}, nil
}

func encodeMetadata(metadata session.Metadata) ([]byte, error) {
	if metadata == nil {
		return nil, nil
	}
	return encodeJSON(metadata)
}

func encodeJSON(value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, session.Errorf(session.CodeInvalid, "this session has no form in JSON and cannot be stored").Because(err)
	}
	return text, nil
}

// jsonText is JSON as a parameter: in the simple protocol bytes would be a BYTEA.
func jsonText(text []byte) any {
	if text == nil {
		return nil
	}
	return string(text)
}

// decodeMetadata reads what the database holds, which is JSON but perhaps no object.
func decodeMetadata(text []byte) session.Metadata {
	if text == nil {
		return nil
	}
	var metadata session.Metadata
	if json.Unmarshal(text, &metadata) == nil {
		return metadata
	}
	_ = json.Unmarshal(slices.Concat([]byte(`{"metadata":`), text, []byte("}")), &metadata) // the database holds JSON only
	return metadata
}

// selected is the list of what [scan] reads. Columns of rows that somebody else wrote may be empty.
const selected = `session_id, coalesce(container_name, ''), coalesce(container_id, ''), coalesce(host_dir, ''), coalesce(port, 0),
	coalesce(auth_token, ''), created_at, last_accessed, status, metadata, owner, image, profile, host, token_expires_at, token_rotated_at,
	expires_at, last_error, operation, operation_owner, operation_deadline, restart_count, stop_reason, timeline,
	previous_auth_token, previous_token_expires_at, image_source, upgrade, revision`

// scan reads one row. A row that somebody has tampered with is a session in the status error that says so, so that it
// keeps no other from being read and can be deleted.
func scan(row pgx.CollectableRow) (session.Session, error) {
	var s session.Session
	var accessed, tokenExpires, tokenRotated, previousExpires, expires, deadline *time.Time
	var kind, owner *string
	var metadata, timeline, upgrade []byte
	if err := row.Scan(
		&s.ID, &s.ContainerName, &s.ContainerID, &s.HostDir, &s.Port, &s.Token.Digest, &s.CreatedAt, &accessed, &s.Status, &metadata,
		&s.Owner, &s.Image, &s.Profile, &s.Host, &tokenExpires, &tokenRotated, &expires, &s.LastError,
		&kind, &owner, &deadline, &s.RestartCount, &s.StopReason, &timeline,
		&s.Token.PreviousDigest, &previousExpires, &s.ImageSource, &upgrade, &s.Revision,
	); err != nil {
		return session.Session{}, err
	}
	s.CreatedAt = s.CreatedAt.UTC()
	for field, value := range map[*time.Time]*time.Time{
		&s.LastAccessed: accessed, &s.Token.ExpiresAt: tokenExpires, &s.Token.RotatedAt: tokenRotated, &s.ExpiresAt: expires,
		&s.Token.PreviousExpiresAt: previousExpires,
	} {
		if value != nil {
			*field = value.UTC()
		}
	}
	if kind != nil {
		s.Operation = &session.Operation{Kind: session.Kind(*kind)}
		if owner != nil {
			s.Operation.Owner = *owner
		}
		if deadline != nil {
			s.Operation.Deadline = deadline.UTC()
		}
	}
	s.Metadata = decodeMetadata(metadata)
	if timeline != nil && json.Unmarshal(timeline, &s.Timeline) != nil {
		s.Timeline = nil // of no use to anyone
	}
	if upgrade != nil {
		s.Upgrade = &session.Upgrade{}
		if json.Unmarshal(upgrade, s.Upgrade) != nil {
			s.Upgrade = nil // like the timeline, nothing that Berth has written
		}
	}
	if !s.Status.Valid() {
		s.LastError = fmt.Sprintf("its row in the database has the status %q, which is none; restart or delete the session", string(s.Status))
		s.Status, s.Operation = session.Error, nil
	}
	return s, nil
}

// placeholders writes "$1, $2, …".
func placeholders(n int) string {
	var out strings.Builder
	for i := range n {
		if i > 0 {
			out.WriteString(", ")
		}
		fmt.Fprintf(&out, "$%d", i+1)
	}
	return out.String()
}

// assignments writes "owner = $11, …" for every column but the key.
func assignments(except ...string) string {
	var out []string
	for i, name := range columns {
		if name == "session_id" || slices.Contains(except, name) {
			continue
		}
		out = append(out, fmt.Sprintf("%s = $%d", name, i+1))
	}
	return strings.Join(out, ", ")
}
