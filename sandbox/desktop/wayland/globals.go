package wayland

import "slices"

// ordinary are the interfaces that a program with windows of its own uses. What is not here is not offered: new
// protocols that look at other clients come up faster than any list of them.
var ordinary = []string{
	// wayland.xml
	"wl_compositor", "wl_subcompositor", "wl_shm", "wl_output", "wl_seat", "wl_data_device_manager", "wl_shell",
	// Windows and their looks.
	"xdg_wm_base", "xdg_activation_v1", "xdg_wm_dialog_v1", "xdg_toplevel_icon_manager_v1", "xdg_toplevel_drag_manager_v1", "xdg_toplevel_tag_manager_v1",
	"xdg_system_bell_v1", "zxdg_shell_v6", "zxdg_output_manager_v1", "zxdg_decoration_manager_v1", "zxdg_exporter_v1", "zxdg_importer_v1",
	"zxdg_exporter_v2", "zxdg_importer_v2", "org_kde_kwin_server_decoration_manager", "org_kde_kwin_server_decoration_palette_manager",
	"org_kde_kwin_appmenu_manager", "org_kde_kwin_blur_manager", "org_kde_kwin_contrast_manager", "org_kde_kwin_shadow_manager",
	"org_kde_kwin_slide_manager", "gtk_shell1", "ext_background_effect_manager_v1",
	// Buffers and frames.
	"zwp_linux_dmabuf_v1", "wl_drm", "zwp_linux_explicit_synchronization_v1", "wp_linux_drm_syncobj_manager_v1", "wp_viewporter", "wp_presentation",
	"wp_single_pixel_buffer_manager_v1", "wp_fractional_scale_manager_v1", "wp_content_type_manager_v1", "wp_tearing_control_manager_v1",
	"wp_alpha_modifier_v1", "wp_color_manager_v1", "wp_color_representation_manager_v1", "wp_fifo_manager_v1", "wp_commit_timing_manager_v1",
	// Input to its own windows.
	"zwp_pointer_constraints_v1", "zwp_relative_pointer_manager_v1", "zwp_pointer_gestures_v1", "wp_cursor_shape_manager_v1", "wp_pointer_warp_v1",
	"zwp_tablet_manager_v1", "zwp_tablet_manager_v2", "zwp_text_input_manager_v1", "zwp_text_input_manager_v2", "zwp_text_input_manager_v3",
	"zwp_keyboard_shortcuts_inhibit_manager_v1", "zwp_input_timestamps_manager_v1", "zwp_primary_selection_device_manager_v1",
	"gtk_primary_selection_device_manager",
	// Keeping the screen on.
	"zwp_idle_inhibit_manager_v1",
}

// allowed tells whether an interface is offered to a program. A registry that is destroyed (wl_fixes) would leave
// the filter with a wrong idea of its id, so that is not offered either.
func allowed(iface string) bool { return slices.Contains(ordinary, iface) }
