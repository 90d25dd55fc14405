package lifecycle

import (
	"cmp"
	"context"
	"time"

	"berth/internal/session"
)

// containers creates the containers of sessions and starts their servers.
type containers struct {
	runtime session.Runtime
	prober  session.Prober
	keys    Keys
	opts    Options
	reports *reporter
	routes  *publisher
	records *recorder
	stages  *stages
}

// fullSpec returns the specification of the container that the session would get now. The error is that of [Gateway].
func (b *containers) fullSpec(ctx context.Context, s session.Session) (session.Spec, error) {
	spec := b.specOf(s)
	env, err := b.opts.Gateway.Environment(ctx, s, spec.Profile, b.keys.Gateway(s.ContainerName))
	if err != nil {
		return session.Spec{}, err
	}
	spec.Env = env
	spec.Egress, _ = b.opts.Gateway.Egress(s, spec.Profile)
	return spec, nil
}

// specOf returns the specification without what the gateway adds to it: enough for a session's volumes.
func (b *containers) specOf(s session.Session) session.Spec {
	profile := *b.routes.profileOf(s)
	return session.Spec{
		Session: s.ID, Name: s.ContainerName, Profile: withVariables(profile, s.Shape), ProfileName: s.Profile, Image: b.imageOf(s),
		Credential: b.keys.Upstream(s.ContainerName), Limits: b.opts.limitsOf(profile, s.Shape), CreatedAt: s.CreatedAt,
		InUse: s.ContainerID != "",
	}
}

// imageOf returns the image of the session's next container.
func (b *containers) imageOf(s session.Session) string {
	profile, known := b.opts.Profiles[s.Profile]
	upgrading := s.Operation != nil && s.Operation.Kind == session.OpUpgrade
	if known && s.ImageSource == session.ImageFromProfile && !upgrading {
		return profile.Image
	}
	return cmp.Or(s.Image, b.routes.profileOf(s).Image)
}

// isOutdated reports whether the session's container has to be replaced. A container that is out of date but could not be created
// again is kept, unless the session requires another one.
func (b *containers) isOutdated(ctx context.Context, s session.Session, spec session.Spec) (bool, error) {
	if _, known := b.opts.Profiles[s.Profile]; !known { // the default profile's volumes would not be this session's
		return false, nil
	}
	parts, err := b.runtime.Drift(ctx, s.ContainerName, spec)
	if len(parts) == 0 || err != nil {
		return false, err
	}
	err = b.opts.enoughMemory(s.Profile, spec.Profile, s.Shape)
	if err == nil {
		err = b.runtime.CheckImage(ctx, spec.Profile, spec.Image)
	}
	code := session.CodeOf(err)
	switch {
	case err == nil:
		b.opts.Logger.InfoContext(ctx, "container is recreated with the present settings", "session_id", s.ID, "changed", parts)
		return true, nil
	case code != session.CodeImageNotFound && code != session.CodeInvalid || s.Operation != nil && s.Operation.Kind == session.OpUpgrade:
		return false, err
	}
	b.opts.Logger.WarnContext(ctx, "container is out of date and kept, because no new one can be created", "session_id", s.ID,
		"changed", parts, "error", err)
	return false, nil
}

// outOfDate returns the parts of a session's container that its next start would change; nil if there are none or no container
// exists.
func (b *containers) outOfDate(ctx context.Context, s session.Session) ([]session.Part, error) {
	if _, known := b.opts.Profiles[s.Profile]; !known {
		return nil, nil
	}
	spec, err := b.fullSpec(ctx, s)
	if err != nil {
		return nil, err
	}
	parts, err := b.runtime.Drift(ctx, s.ContainerName, spec)
	return parts, ignoreNotFound(err)
}

// checkTime bounds an early check by the engine: without its result the mistake is found later.
const checkTime = 3 * time.Second

// checkImage returns an error if the engine does not have the session's image, and nil if the engine does not answer.
func (b *containers) checkImage(ctx context.Context, s session.Session) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	err := b.runtime.CheckImage(ctx, *b.routes.profileOf(s), s.Image)
	if code := session.CodeOf(err); code == session.CodeImageNotFound || code == session.CodeInvalid {
		return err
	}
	return nil
}

// currentImage returns the recorded image of the session's container.
func (b *containers) currentImage(s session.Session) string {
	return cmp.Or(s.Image, b.routes.profileOf(s).Image)
}
