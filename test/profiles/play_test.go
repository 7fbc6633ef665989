package profiles

import (
	"encoding/binary"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jail/test/need"
)

// scene is a script for Blender: a cube before a sky in the colour of the page, drawn by the processor alone.
const scene = `import bpy
s = bpy.context.scene
s.render.engine = 'CYCLES'
s.cycles.samples, s.cycles.use_denoising = 1, False
s.render.resolution_x, s.render.resolution_y, s.render.resolution_percentage = 400, 300, 100
s.view_settings.view_transform = 'Standard'
s.world.use_nodes = False
s.world.color = (0.01444, 0.11697, 0.52712)
for o in bpy.data.objects:
    if o.type == 'MESH':
        o.scale = (0.2, 0.2, 0.2)
`

// TestBlender renders a picture.
func TestBlender(t *testing.T) {
	t.Parallel()
	world(t)
	r := row{profile: "blender", program: "blender", files: map[string]string{"scene.py": scene}, check: colours("out1.png")}
	r.do = func(t *testing.T, u *user) {
		u.must(u.jail("--", "blender", "-b", "--python-exit-code", "1", "--python", "scene.py", "-o", u.project+"/out#", "-f", "1"))
	}
	r.run(t)
}

// cartridge is a program for the Nintendo Entertainment System that shows one colour of its palette. What a cartridge
// file holds: https://www.nesdev.org/wiki/INES; how the picture is made: https://www.nesdev.org/wiki/PPU_registers.
func cartridge(colour byte) string {
	const start = 0xc000 // where a single bank of 16 KiB is
	code := []byte{
		0x78, 0xd8, 0xa2, 0xff, 0x9a, // sei, cld, ldx #$ff, txs
		0xe8, 0x8e, 0x00, 0x20, 0x8e, 0x01, 0x20, // inx, stx $2000, stx $2001: no interrupt, nothing drawn but the backdrop
		0x2c, 0x02, 0x20, 0x10, 0xfb, // bit $2002, bpl -5: twice, until the picture unit is ready
		0x2c, 0x02, 0x20, 0x10, 0xfb,
		0xa9, 0x3f, 0x8d, 0x06, 0x20, 0xa9, 0x00, 0x8d, 0x06, 0x20, // its address becomes $3f00, the backdrop
		0xa9, colour, 0x8d, 0x07, 0x20, // lda #colour, sta $2007
		0xa9, 0x3f, 0x8d, 0x06, 0x20, 0xa9, 0x00, 0x8d, 0x06, 0x20,
	}
	code = append(code, 0x4c) // jmp to itself
	code = binary.LittleEndian.AppendUint16(code, uint16(start+len(code)-1))
	bank := make([]byte, 0x4000-6, 0x4000)
	copy(bank, code)
	for range 3 { // the vectors: NMI, reset, IRQ
		bank = binary.LittleEndian.AppendUint16(bank, start)
	}
	const header = "NES\x1a\x01\x01" // one bank of program, one of pictures
	return header + strings.Repeat("\x00", 10) + string(bank) + strings.Repeat("\x00", 0x2000)
}

// nesBlue is the colour 0x12 of that machine's palette, as the emulator has it.
var nesBlue = color.RGBA{0x15, 0x3c, 0xfe, 0xff}

// TestRetroArch plays a cartridge for a second, and looks at the picture that is taken of it.
func TestRetroArch(t *testing.T) {
	t.Parallel()
	world(t)
	r := row{profile: "retroarch", program: "retroarch", files: map[string]string{"game.nes": cartridge(0x12)}}
	r.do = func(t *testing.T, u *user) {
		core := need.File(t, "/usr/lib/*/libretro/nestopia_libretro.so")
		u.screen()
		said := u.must(u.jail("--", "retroarch", "-v", "-L", core, "--max-frames=60", "--max-frames-ss", "--max-frames-ss-path="+u.home+"/shot.png", "game.nes"))
		if n := count(t, u.own("retroarch")+"/shot.png", nesBlue); n < 100000 {
			t.Errorf("the picture has %d pixels in the cartridge's colour\n%s", n, said)
		}
	}
	r.run(t)
}

// TestOBS records a scene into the user's Videos.
func TestOBS(t *testing.T) {
	t.Parallel()
	world(t)
	r := row{profile: "obs", program: "obs", needs: []string{"ffmpeg"}, net: public}
	r.do = func(t *testing.T, u *user) {
		u.screen()
		settings := ".local/state/jail/home/obs/.config/obs-studio/"
		u.write(settings+"global.ini", "[General]\nFirstRun=true\n[Basic]\nProfile=Tests\nProfileDir=Tests\nSceneCollection=Tests\nSceneCollectionFile=Tests\n")
		u.write(settings+"basic/profiles/Tests/basic.ini", "[General]\nName=Tests\n[Output]\nMode=Simple\n[SimpleOutput]\nFilePath="+u.home+
			"/Videos\nRecFormat=mkv\nRecEncoder=x264\n[Video]\nBaseCX=400\nBaseCY=300\nOutputCX=400\nOutputCY=300\nFPSCommon=10\n")
		// Blue, green, red from the top.
		colour := 0xff<<24 | int(pageColour.B)<<16 | int(pageColour.G)<<8 | int(pageColour.R)
		u.write(settings+"basic/scenes/Tests.json", fmt.Sprintf(`{"name":"Tests","current_scene":"Scene","current_program_scene":"Scene","scene_order":[{"name":"Scene"}],"sources":[
			{"id":"color_source","versioned_id":"color_source_v3","name":"Colour","settings":{"color":%d,"width":400,"height":300}},
			{"id":"scene","versioned_id":"scene","name":"Scene","settings":{"id_counter":1,"items":[{"name":"Colour","id":1,"visible":true,"pos":{"x":0,"y":0},"scale":{"x":1,"y":1},"align":5}]}}]}`, colour))
		cmd, said := u.start(u.jail("--", "obs", "--startrecording"))
		// A frame is there once the muxer has written one out; until then ffmpeg fails.
		frame := func() bool {
			films, _ := filepath.Glob(u.home + "/Videos/*.mkv")
			return len(films) == 1 && u.command("ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-i", films[0], "-frames:v", "1", "out.png").Run() == nil
		}
		if !eventually(frame) {
			t.Fatalf("nothing was recorded: %s", said())
		}
		stop(cmd)
		colours("out.png")(t, u, said())
	}
	r.run(t)
}

// TestMinetest makes a world and plays in it: the game is a server that makes the land and a client that joins it.
func TestMinetest(t *testing.T) {
	t.Parallel()
	world(t)
	r := row{profile: "minetest", program: "minetest", net: public}
	r.do = func(t *testing.T, u *user) {
		u.screen()
		const land = ".minetest/worlds/ours/"
		u.write(".local/state/jail/home/minetest/"+land+"world.mt", "gameid = minetest\nbackend = sqlite3\nplayer_backend = sqlite3\nauth_backend = sqlite3\nmod_storage_backend = sqlite3\n")
		cmd, said := u.start(u.jail("--", "minetest", "--go", "--worldname", "ours", "--name", "somebody"))
		if !eventually(func() bool { return strings.Contains(said(), "List of players: somebody") }) {
			t.Errorf("nobody joined: %s", said())
		}
		// The land is written as it is made, a few blocks around the player first.
		made := func() bool {
			st, err := os.Stat(filepath.Join(u.own("minetest"), land, "map.sqlite"))
			return err == nil && st.Size() > 100<<10
		}
		if !eventually(made) {
			t.Errorf("no land was made: %s", said())
		}
		stop(cmd)
	}
	r.run(t)
}
