package metrics

import "github.com/prometheus/client_golang/prometheus"

// scrape is a collector that measures at each scrape. Its metrics are described with gauge and counter before it is
// registered.
type scrape struct {
	descs   []*prometheus.Desc
	collect func(to chan<- prometheus.Metric)
}

// measurement adds one value to a scrape.
type measurement func(to chan<- prometheus.Metric, value float64, labels ...string)

func (s *scrape) gauge(name, help string, labels ...string) measurement {
	return s.describe(prometheus.GaugeValue, name, help, labels)
}

func (s *scrape) counter(name, help string, labels ...string) measurement {
	return s.describe(prometheus.CounterValue, name, help, labels)
}

func (s *scrape) describe(kind prometheus.ValueType, name, help string, labels []string) measurement {
	desc := prometheus.NewDesc(name, help, labels, nil)
	s.descs = append(s.descs, desc)
	return func(to chan<- prometheus.Metric, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
}

// Describe implements [prometheus.Collector].
func (s *scrape) Describe(to chan<- *prometheus.Desc) {
	for _, d := range s.descs {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (s *scrape) Collect(to chan<- prometheus.Metric) { s.collect(to) }

func oneIf(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}
