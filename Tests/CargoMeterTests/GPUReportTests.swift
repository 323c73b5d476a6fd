import CargoWire
import Testing

@testable import CargoMeter

/// The tools' own output, as they print it.
@Suite struct GPUReportTests {
    @Test func `nvidia-smi's lines become readings`() {
        let said = """
            0, NVIDIA GeForce RTX 4090, 24564, 20481, 97, 61, 412.53
            1, NVIDIA H200, 143771, 143150, 0, 31, 75.42
            2, Tesla K80, 11441, 11438, [Not Supported], 39, [N/A]
            3, NVIDIA GB10, [N/A], [N/A], 3, 42, 11.07

            """
        let gibibyte = 1_048_576
        let gpus = GPUReport.nvidia(said)
        #expect(
            gpus.first
                == GPUReading(
                    index: 0, name: "NVIDIA GeForce RTX 4090", vramTotal: Int64(24564 * gibibyte),
                    vramFree: Int64(20481 * gibibyte),
                    utilization: 97, temperature: 61, power: 412.53))
        #expect(gpus.count == 4)
        #expect(gpus[2].utilization == nil)
        #expect(gpus[2].power == nil)
        #expect(gpus[2].temperature == 39)
        #expect(gpus[3].vramTotal == nil)
    }

    @Test(arguments: [
        "", "No devices were found\n", "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
        "0, only, three\n", "x, NVIDIA, 1, 2, 3, 4, 5\n", "{\"card0\": 3}", "[]", "{",
    ])
    func `anything else is no GPU`(said: String) {
        #expect(GPUReport.nvidia(said).isEmpty)
        #expect(GPUReport.rocm(said).isEmpty)
    }

    @Test func `rocm-smi's cards become readings, in the spellings of several versions`() {
        let said = """
            WARNING: AMD GPU device(s) is/are in a low-power state. Check power control/runtime_status

            {"card1": {"GUID": "34756", "Temperature (Sensor edge) (C)": "47.0", "Current Socket Graphics Package Power (W)": "9.215", \
            "GPU use (%)": "0", "VRAM Total Memory (B)": "536870912", "VRAM Total Used Memory (B)": "482263040", \
            "Card Series": "Rembrandt [Radeon 680M]"}, \
            "card0": {"Card series": "Instinct MI210", "Temperature (Sensor edge) (C)": "N/A", "Temperature (Sensor junction) (C)": "50.0", \
            "Average Graphics Package Power (W)": "120.0", "GPU use (%)": "62", "VRAM Total Memory (B)": "68702699520", \
            "VRAM Total Used Memory (B)": "27481079808"}, "system": {"Driver version": "6.7.0"}}
            """
        #expect(
            GPUReport.rocm(said) == [
                GPUReading(
                    index: 0, name: "Instinct MI210", vramTotal: 68_702_699_520, vramFree: 41_221_619_712, utilization: 62,
                    temperature: 50, power: 120),
                GPUReading(
                    index: 1, name: "Rembrandt [Radeon 680M]", vramTotal: 536_870_912, vramFree: 54_607_872, utilization: 0,
                    temperature: 47, power: 9.215),
            ])
    }
}
