import Testing

@testable import CargoCoordinator

@Suite struct StartupPagesTests {
    @Test func onlyProgramTextIsGivenBack() {
        let maps = """
            55d000-55d010 r--p 00000000 08:01 12 /usr/bin/x
            55d010-55f010 r-xp 00010000 08:01 12                         /usr/bin/x
            55f010-55f020 rw-p 00210000 08:01 12 /usr/bin/x
            7f0000-7f1000 r-xp 00000000 08:01 13 /usr/lib/a library.so
            7f1000-7f2000 r-xp 00000000 00:00 0
            7ffd00-7ffd02 r-xp 00000000 00:00 0                          [vdso]
            """
        #expect(StartupPages.ranges(of: maps) == [0x55d010..<0x55f010, 0x7f0000..<0x7f1000])
        // This very process goes on.
        StartupPages.giveBack()
    }
}
