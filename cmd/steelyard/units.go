// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// unknown stands for a number that nobody knows.
const unknown = "-"

// ratio is a share in percent, with as many digits as tell shares apart.
func ratio(v float64) string {
	switch p := v * 100; {
	case p == 0:
		return "0%"
	case p < 0.05:
		return "<0.1%"
	default:
		return strconv.FormatFloat(p, 'f', 1, 64) + "%"
	}
}

// percent is a load in whole percent.
func percent(v *float64) string {
	if v == nil {
		return unknown
	}
	return strconv.FormatFloat(*v*100, 'f', 0, 64) + "%"
}

func count(v *uint64) string {
	if v == nil {
		return unknown
	}
	return strconv.FormatUint(*v, 10)
}

// rate is a number per second.
func rate(v *float64) string {
	if v == nil {
		return unknown
	}
	return strconv.FormatFloat(*v, 'f', 1, 64)
}

// seconds is a time with a unit that keeps about three digits.
func seconds(v float64) string {
	abs := math.Abs(v)
	switch {
	case v == 0:
		return "0 s"
	case abs < 1e-3:
		return fmt.Sprintf("%.0f µs", v*1e6)
	case abs < 0.9995e-2:
		return fmt.Sprintf("%.2f ms", v*1e3)
	case abs < 0.9995e-1:
		return fmt.Sprintf("%.1f ms", v*1e3)
	case abs < 0.9995:
		return fmt.Sprintf("%.0f ms", v*1e3)
	case abs < 9.95:
		return fmt.Sprintf("%.1f s", v)
	case abs < 119.5:
		return fmt.Sprintf("%.0f s", v)
	case abs < 119.5*60:
		return fmt.Sprintf("%.0f min", v/60)
	case abs < 47.5*3600:
		return fmt.Sprintf("%.0f h", v/3600)
	}
	return fmt.Sprintf("%.0f d", v/86400)
}

func optionalSeconds(v *float64) string {
	if v == nil {
		return unknown
	}
	return seconds(*v)
}

// ago is the time since t at the time of the view.
func ago(t, at time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return seconds(max(at.Sub(t).Seconds(), 0)) + " ago"
}

// reading is a value in its unit, as people say it.
func reading(v float64, unit string) string {
	switch unit {
	case "ratio":
		return strconv.FormatFloat(v*100, 'f', 1, 64) + "%"
	case "seconds":
		return seconds(v)
	case "per_second":
		return strconv.FormatFloat(v, 'f', 1, 64) + "/s"
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

func healthColor(h core.HealthState) color {
	switch h {
	case core.Up:
		return green
	case core.Down:
		return red
	}
	return yellow
}

func stateColor(s core.BackendState) color {
	switch s {
	case core.StateUp:
		return green
	case core.StateDown:
		return red
	case core.StateReserve, core.StateSorry:
		return ""
	}
	return yellow
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000 UTC")
}

// perSecond is a rate with its unit.
func perSecond(v *float64) string {
	if v == nil {
		return unknown
	}
	return rate(v) + "/s"
}
