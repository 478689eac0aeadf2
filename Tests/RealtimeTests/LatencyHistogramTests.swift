import Realtime
import Testing

@Suite struct LatencyHistogramTests {
    @Test(arguments: [0.0, 0.5, 0.95, 0.99, 1.0])
    func `a percentile is within 1/32 of the exact one`(fraction: Double) {
        var histogram = LatencyHistogram()
        var values = [Int64]()
        var state: UInt64 = 7
        for _ in 0..<10_000 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let value = Int64(state >> 40) * Int64(state >> 60)
            values.append(value)
            histogram.record(nanoseconds: value)
        }
        values.sort()
        let rank = max(1, Int((fraction * Double(values.count)).rounded(.up)))
        let exact = values[rank - 1]
        let found = histogram.percentile(fraction)
        #expect(found >= exact)
        #expect(Double(found) <= Double(exact) * (1 + 1.0 / 32) + 1)
        #expect(histogram.maximumNanoseconds == values.last)
    }

    @Test func `extremes do not trap`() {
        var histogram = LatencyHistogram()
        #expect(histogram.percentile(0.5) == 0)
        histogram.record(nanoseconds: -5)
        #expect(histogram.percentile(1) == 0)
        histogram.record(nanoseconds: .max)
        #expect(histogram.percentile(1) > 1_000_000_000)
        #expect(histogram.count == 2)
    }
}
