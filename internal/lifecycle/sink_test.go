package lifecycle_test

import (
	"context"

	"berth/internal/lifecycle"
)

// notices, results, rejections and sweeps return sinks for one kind of report.
func notices(f func(lifecycle.Notice)) lifecycle.Sink {
	return lifecycle.SinkFunc(func(_ context.Context, r lifecycle.Report) {
		if r.Notice != nil {
			f(*r.Notice)
		}
	})
}

func results(f func(lifecycle.OperationResult)) lifecycle.Sink {
	return lifecycle.SinkFunc(func(_ context.Context, r lifecycle.Report) {
		if r.Operation != nil {
			f(*r.Operation)
		}
	})
}

func rejections(f func(error)) lifecycle.Sink {
	return lifecycle.SinkFunc(func(_ context.Context, r lifecycle.Report) {
		if r.Rejected != nil {
			f(r.Rejected)
		}
	})
}

func sweeps(f func(int)) lifecycle.Sink {
	return lifecycle.SinkFunc(func(_ context.Context, r lifecycle.Report) {
		if r.Swept > 0 {
			f(r.Swept)
		}
	})
}
