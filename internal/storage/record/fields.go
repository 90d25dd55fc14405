// Package record is common to all stores: the columns of a session with their copying and comparison, the positions in a list,
// the counts, and the errors that only stores return.
//
// It knows neither the stores nor the meaning of a session's fields.
package record

import (
	"fmt"
	"slices"
	"time"

	"berth/internal/session"
)

// Group is a set of a session's fields that are changed together. Groups are bits: a Group may be a union of several.
type Group uint8

// The groups. Each field is in one.
const (
	GroupIdentity Group = 1 << iota // the session and its version
	GroupActivity                   // the last activity
	GroupToken
	GroupState // status, container and events
	GroupExpiry
	GroupOwner
	GroupMetadata
)

var groupNames = []string{"identity", "activity", "token", "state", "expiry", "owner", "metadata"}

// String names a single group.
func (g Group) String() string {
	for i, name := range groupNames {
		if g == 1<<i {
			return name
		}
	}
	return "several"
}

// fields describes a session's fields: their columns and order in stores, how they are copied and compared, and their group. A
// field that is not here is not stored.
var fields = []field{
	text(GroupIdentity, "session_id", func(s *session.Session) *session.ID { return &s.ID }),
	text(GroupState, "container_name", func(s *session.Session) *string { return &s.ContainerName }),
	text(GroupState, "container_id", func(s *session.Session) *string { return &s.ContainerID }),
	text(GroupState, "host_dir", func(s *session.Session) *string { return &s.HostDir }),
	number(GroupState, "port", func(s *session.Session) *int { return &s.Port }),
	text(GroupToken, "auth_token", func(s *session.Session) *string { return &s.Token.Digest }),
	instant(GroupIdentity, "created_at", func(s *session.Session) *time.Time { return &s.CreatedAt }),
	instant(GroupActivity, "last_accessed", func(s *session.Session) *time.Time { return &s.LastAccessed }),
	text(GroupState, "status", func(s *session.Session) *session.Status { return &s.Status }),
	document(GroupMetadata, "metadata", func(s *session.Session) *session.Metadata { return &s.Metadata }, session.Metadata.Clone),
	text(GroupOwner, "owner", func(s *session.Session) *string { return &s.Owner }),
	text(GroupState, "image", func(s *session.Session) *string { return &s.Image }),
	text(GroupState, "profile", func(s *session.Session) *string { return &s.Profile }),
	text(GroupState, "host", func(s *session.Session) *string { return &s.Host }),
	instant(GroupToken, "token_expires_at", func(s *session.Session) *time.Time { return &s.Token.ExpiresAt }),
	instant(GroupToken, "token_rotated_at", func(s *session.Session) *time.Time { return &s.Token.RotatedAt }),
	instant(GroupExpiry, "expires_at", func(s *session.Session) *time.Time { return &s.ExpiresAt }),
	text(GroupState, "last_error", func(s *session.Session) *string { return &s.LastError }),
	operation(GroupState),
	number(GroupState, "restart_count", func(s *session.Session) *int { return &s.RestartCount }),
	number(GroupIdentity, "revision", func(s *session.Session) *int64 { return &s.Revision }),
	text(GroupState, "stop_reason", func(s *session.Session) *session.StopReason { return &s.StopReason }),
	document(GroupState, "timeline", func(s *session.Session) *[]session.Event { return &s.Timeline }, slices.Clone),
	text(GroupToken, "previous_auth_token", func(s *session.Session) *string { return &s.Token.PreviousDigest }),
	instant(GroupToken, "previous_token_expires_at", func(s *session.Session) *time.Time { return &s.Token.PreviousExpiresAt }),
	text(GroupState, "image_source", func(s *session.Session) *session.ImageSource { return &s.ImageSource }),
	document(GroupToken, "sign_in_links", func(s *session.Session) *[]session.Link { return &s.Links }, slices.Clone),
	document(GroupToken, "sign_ins", func(s *session.Session) *[]session.SignIn { return &s.SignIns }, slices.Clone),
	document(GroupState, "upgrade", func(s *session.Session) **session.Upgrade { return &s.Upgrade }, (*session.Upgrade).Clone),
	shape(GroupState, "shape", func(s *session.Session) *session.Shape { return &s.Shape }),
}

// Columns lists all columns of a session. Together they are the complete session.
func Columns() []Column {
	var all []Column
	for _, f := range fields {
		all = append(all, f.columns...)
	}
	return all
}

// Changed returns the groups in which a and b differ; 0: they are equal.
func Changed(a, b *session.Session) Group {
	var differ Group
	for _, f := range fields {
		if !f.same(a, b) {
			differ |= f.group
		}
	}
	return differ
}

// Take copies the fields of these groups from from to to; they share nothing mutable.
func Take(to, from *session.Session, groups Group) {
	for _, f := range fields {
		if f.group&groups != 0 {
			f.take(to, from)
		}
	}
}

// Normal returns s as a store returns it. A session that cannot be encoded in JSON is a CodeInvalid error.
func Normal(s session.Session) (session.Session, error) {
	var out session.Session
	for _, c := range Columns() {
		value, err := c.Get(&s)
		if err == nil {
			err = c.Set(&out, value)
		}
		if err != nil {
			return session.Session{}, Unstorable(fmt.Errorf("column %s: %w", c.Name, err))
		}
	}
	return out, nil
}
