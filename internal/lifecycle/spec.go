package lifecycle

import (
	"cmp"
	"context"
	"time"

	"berth/internal/session"
)

// containers makes sessions' containers and brings their servers up.
type containers struct {
	runtime session.Runtime
	prober  session.Prober
	keys    Keys
	opts    Options
	reports *reporter
	routes  *publisher
	records *recorder
}

// specOf is the container that the session would get now.
func (b *containers) specOf(s session.Session) session.Spec {
	return session.Spec{
		Session: s.ID, Name: s.ContainerName, Profile: *b.routes.profileOf(s), ProfileName: s.Profile, Image: b.imageOf(s),
		Credential: b.keys.Upstream(s.ContainerName), Limits: b.opts.Limits, CreatedAt: s.CreatedAt,
		InUse: s.ContainerID != "",
	}
}

// imageOf is the image that the session's next container is made from.
func (b *containers) imageOf(s session.Session) string {
	profile, known := b.opts.Profiles[s.Profile]
	upgrading := s.Operation != nil && s.Operation.Kind == session.OpUpgrade
	if known && s.ImageSource == session.ImageFromProfile && !upgrading {
		return profile.Image
	}
	return cmp.Or(s.Image, b.routes.profileOf(s).Image)
}

// isOutdated reports whether the session's container has to be replaced by one made now. A container that could not be
// made again is kept, as long as the session need not have another one.
func (b *containers) isOutdated(ctx context.Context, s session.Session, spec session.Spec) (bool, error) {
	if _, known := b.opts.Profiles[s.Profile]; !known { // the default profile's volumes would not be this session's
		return false, nil
	}
	parts, err := b.runtime.Drift(ctx, s.ContainerName, spec)
	if len(parts) == 0 || err != nil {
		return false, err
	}
	err = b.enoughMemory(s.Profile, spec.Profile)
	if err == nil {
		err = b.runtime.CheckImage(ctx, spec.Profile, spec.Image)
	}
	code := session.CodeOf(err)
	switch {
	case err == nil:
		b.opts.Logger.InfoContext(ctx, "container is made again with the present settings", "session_id", s.ID, "changed", parts)
		return true, nil
	case code != session.CodeImageNotFound && code != session.CodeInvalid || s.Operation != nil && s.Operation.Kind == session.OpUpgrade:
		return false, err
	}
	b.opts.Logger.WarnContext(ctx, "container is out of date and stays, because no other can be made now", "session_id", s.ID,
		"changed", parts, "error", err)
	return false, nil
}

// outOfDate names what a session's container would get with its next start: nothing when it is as it would be made now, or
// when there is none.
func (b *containers) outOfDate(ctx context.Context, s session.Session) ([]session.Part, error) {
	if _, known := b.opts.Profiles[s.Profile]; !known {
		return nil, nil
	}
	parts, err := b.runtime.Drift(ctx, s.ContainerName, b.specOf(s))
	return parts, ignoreNotFound(err)
}

// enoughMemory returns an error when a server of the profile does not survive the memory limit.
func (b *containers) enoughMemory(name string, p session.Profile) error {
	if b.opts.Limits.Memory < p.MinMem {
		return session.Errorf(session.CodeInvalid, "a server of profile %q needs %s of memory and sessions get %s; raise CONTAINER_MEMORY_LIMIT, or use another profile",
			name, p.MinMem, b.opts.Limits.Memory)
	}
	return nil
}

// checkTime bounds a question to the engine on which nothing depends but how soon a mistake is found.
const checkTime = 3 * time.Second

// checkImage refuses a session whose image the engine does not have. An engine that does not answer refuses nothing here.
func (b *containers) checkImage(ctx context.Context, s session.Session) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	err := b.runtime.CheckImage(ctx, *b.routes.profileOf(s), s.Image)
	if code := session.CodeOf(err); code == session.CodeImageNotFound || code == session.CodeInvalid {
		return err
	}
	return nil
}

// currentImage is the image of the session's container as far as it is recorded.
func (b *containers) currentImage(s session.Session) string {
	return cmp.Or(s.Image, b.routes.profileOf(s).Image)
}
