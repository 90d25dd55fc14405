package session

import (
	"fmt"
	"slices"
	"time"
)

// Group is a set of a session's fields that change together, because one act changes them. Groups are bits: a Group may
// stand for several.
type Group uint8

// The groups. Each field is in one.
const (
	GroupIdentity Group = 1 << iota // which session, and which version of it
	GroupActivity                   // when it was used last
	GroupToken
	GroupState // what it is, what it is made of and what happened to it
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

// fields is the one description of a session's fields: what stores keep of each and in which order, how it is copied and
// compared, and what it changes with. A field that is not here is kept nowhere.
var fields = []field{
	text(GroupIdentity, "session_id", func(s *Session) *ID { return &s.ID }),
	text(GroupState, "container_name", func(s *Session) *string { return &s.ContainerName }),
	text(GroupState, "container_id", func(s *Session) *string { return &s.ContainerID }),
	text(GroupState, "host_dir", func(s *Session) *string { return &s.HostDir }),
	number(GroupState, "port", func(s *Session) *int { return &s.Port }),
	text(GroupToken, "auth_token", func(s *Session) *string { return &s.Token.Digest }),
	instant(GroupIdentity, "created_at", func(s *Session) *time.Time { return &s.CreatedAt }),
	instant(GroupActivity, "last_accessed", func(s *Session) *time.Time { return &s.LastAccessed }),
	text(GroupState, "status", func(s *Session) *Status { return &s.Status }),
	document(GroupMetadata, "metadata", func(s *Session) *Metadata { return &s.Metadata }, Metadata.Clone),
	text(GroupOwner, "owner", func(s *Session) *string { return &s.Owner }),
	text(GroupState, "image", func(s *Session) *string { return &s.Image }),
	text(GroupState, "profile", func(s *Session) *string { return &s.Profile }),
	text(GroupState, "host", func(s *Session) *string { return &s.Host }),
	instant(GroupToken, "token_expires_at", func(s *Session) *time.Time { return &s.Token.ExpiresAt }),
	instant(GroupToken, "token_rotated_at", func(s *Session) *time.Time { return &s.Token.RotatedAt }),
	instant(GroupExpiry, "expires_at", func(s *Session) *time.Time { return &s.ExpiresAt }),
	text(GroupState, "last_error", func(s *Session) *string { return &s.LastError }),
	operation(GroupState),
	number(GroupState, "restart_count", func(s *Session) *int { return &s.RestartCount }),
	number(GroupIdentity, "revision", func(s *Session) *int64 { return &s.Revision }),
	text(GroupState, "stop_reason", func(s *Session) *StopReason { return &s.StopReason }),
	document(GroupState, "timeline", func(s *Session) *[]Event { return &s.Timeline }, slices.Clone),
	text(GroupToken, "previous_auth_token", func(s *Session) *string { return &s.Token.PreviousDigest }),
	instant(GroupToken, "previous_token_expires_at", func(s *Session) *time.Time { return &s.Token.PreviousExpiresAt }),
	text(GroupState, "image_source", func(s *Session) *ImageSource { return &s.ImageSource }),
	document(GroupState, "upgrade", func(s *Session) **Upgrade { return &s.Upgrade }, (*Upgrade).clone),
}

// Columns lists every column of a session. Together they say everything of it.
func Columns() []Column {
	var all []Column
	for _, f := range fields {
		all = append(all, f.columns...)
	}
	return all
}

// Changed returns the groups in which a and b differ; 0: they are the same.
func Changed(a, b *Session) Group {
	var differ Group
	for _, f := range fields {
		if !f.same(a, b) {
			differ |= f.group
		}
	}
	return differ
}

// Take gives to the fields of these groups that from has, and shares nothing mutable with it.
func Take(to, from *Session, groups Group) {
	for _, f := range fields {
		if f.group&groups != 0 {
			f.take(to, from)
		}
	}
}

// Clone returns a copy that shares nothing mutable with s.
func (s Session) Clone() Session {
	for _, f := range fields {
		if f.deep {
			f.take(&s, &s)
		}
	}
	return s
}

// Normal returns s as a store gives it back. A session that has no form in JSON is a CodeInvalid error.
func Normal(s Session) (Session, error) {
	var out Session
	for _, c := range Columns() {
		value, err := c.Get(&s)
		if err == nil {
			err = c.Set(&out, value)
		}
		if err != nil {
			return Session{}, Unstorable(fmt.Errorf("column %s: %w", c.Name, err))
		}
	}
	return out, nil
}
