package docker

import (
	"context"
	"regexp"

	"berth/internal/session"

	"github.com/containerd/errdefs"
)

// reference are the characters of image names. The engine checks the rest of their form.
var reference = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9_-]|[./:@][a-zA-Z0-9_])*$`)

// CheckImage asks the engine for an image. See [session.Runtime].
func (r *Runtime) CheckImage(ctx context.Context, _ session.Profile, image string) error {
	malformed := session.Errorf(session.CodeInvalid,
		"%q cannot be the name of an image: it is written like registry.example/team/image:tag, in lower case up to the tag", image)
	return r.read(ctx, "look for image "+image, func(ctx context.Context) error {
		if !reference.MatchString(image) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return malformed
		}
		_, err := r.api.ImageInspect(ctx, image)
		switch {
		case errdefs.IsNotFound(err):
			return session.Errorf(session.CodeImageNotFound,
				"the engine has no image %q; build or pull it there, or name another one", image).Because(err)
		case errdefs.IsInvalidArgument(err):
			return malformed.Because(err)
		}
		return err
	})
}
